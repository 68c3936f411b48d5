from .page import build_page as build_page
from .shipped import ready_page as ready_page
