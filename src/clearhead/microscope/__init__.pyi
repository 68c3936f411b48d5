from ._build import build_page as build_page
from ._build import shipped_page as shipped_page
