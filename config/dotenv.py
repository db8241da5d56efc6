"""Write a private `.env` with random keys: `python -m config.dotenv [FILE]`.

An existing file is not changed, because its keys encrypt the secrets in the database.
"""

import secrets
import sys
from pathlib import Path

from cryptography.fernet import Fernet

TEMPLATE = """\
# Created once for this machine. Anyone who has these keys can read every stored secret. If you
# lose FERNET_KEYS, all secrets are lost: keep a copy in a safe place.
DEBUG=true
SECRET_KEY={secret_key}
JWT_SIGNING_KEY={jwt_signing_key}
FERNET_KEYS={fernet_key}
"""


def write(path: Path) -> None:
    """Create `path`, readable by its owner only, unless it exists."""
    text = TEMPLATE.format(
        secret_key=secrets.token_urlsafe(50),
        jwt_signing_key=secrets.token_urlsafe(50),
        fernet_key=Fernet.generate_key().decode(),
    )
    try:
        # Before the keys are in it, so that they are never readable for others.
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return
    path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
