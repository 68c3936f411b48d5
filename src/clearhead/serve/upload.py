"""The body of a request as pictures for the model: a file, a form with a file, or a tensor."""

from clearhead.data.preprocessing.any_picture import Picture
from clearhead.errors import ImageError
from clearhead.inference import ModelInput, prepare
from clearhead.models.config import ImageModelConfig

MULTIPART = "multipart/form-data"


def picture_from(body: bytes, content_type: str, config: ImageModelConfig) -> ModelInput:
    """The picture that is the body, or the one file in it if the body is a form.

    Raises `ImageError` if there is none that can be read.
    """
    if not content_type.lower().startswith(MULTIPART):
        return prepare(_some(body), config)
    return prepare(_some(_file_in_form(body, content_type)), config)


def _some(body: bytes) -> Picture:
    if not body:
        raise ImageError("there are no bytes; send a picture as the body, or as a file in a form")
    return body


def _file_in_form(body: bytes, content_type: str) -> bytes:
    from python_multipart import FormParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import File, create_form_parser

    files: list[File] = []
    fields: list[object] = []
    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parser: FormParser = create_form_parser(
            headers,
            fields.append,
            files.append,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},  # never on a disk
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ImageError(f"this form is damaged ({error})") from error
    if len(files) != 1:
        raise ImageError(f"a form holds one file, the picture; this one holds {len(files)}")
    held = files[0].file_object
    held.seek(0)
    return bytes(held.read())
