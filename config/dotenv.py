"""Write a private `.env` with random keys: `python -m config.dotenv [FILE]`.

A file that is there already is left as it is: its keys encrypt what the database holds.
"""

import os
import secrets
import sys
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet

TEMPLATE = """\
# Made once, for this machine alone. Whoever has these keys can read every stored secret, and
# whoever loses FERNET_KEYS has lost them all: keep a copy in a safe place.
DEBUG=true
SECRET_KEY={secret_key}
JWT_SIGNING_KEY={jwt_signing_key}
FERNET_KEYS={fernet_key}
"""


def write(path: Path) -> None:
    """Create `path`, readable by its owner only, whole or not at all."""
    text = TEMPLATE.format(
        secret_key=secrets.token_urlsafe(50),
        jwt_signing_key=secrets.token_urlsafe(50),
        fernet_key=Fernet.generate_key().decode(),
    )
    # mkstemp makes the file with mode 0600; link() fails where the target exists.
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".env-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(path).hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
