"""The update call with FastAPI and SQLAlchemy, like in a tutorial. Never deploy it.

An asynchronous session for each request, the caller as a dependency, pydantic models for the body
and the response, and the ORM for the lock, the changed columns and the audit record.
"""

import hashlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import jwt
from cryptography.fernet import Fernet
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy import DateTime, ForeignKey, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SECRETS = ("api_key", "webhook_secret")
fernet = Fernet(os.environ["FERNET_KEYS"].split(",")[0])
signing_key = os.environ["JWT_SIGNING_KEY"]
portal_code = os.environ["PORTAL_ACCESS_CODE"]
url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
engine = create_async_engine(url, pool_size=10)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB}


class User(Base):
    __tablename__ = "auth_user"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str]
    password: Mapped[str]
    is_active: Mapped[bool]


class Tenant(Base):
    __tablename__ = "workspaces_tenant"

    id: Mapped[int] = mapped_column(primary_key=True)
    biz_id: Mapped[str]


class Workspace(Base):
    __tablename__ = "workspaces_workspace"

    id: Mapped[int] = mapped_column(primary_key=True)
    biz_id: Mapped[str]
    is_active: Mapped[bool]
    tenant_id: Mapped[int] = mapped_column(ForeignKey(Tenant.id))


class Membership(Base):
    __tablename__ = "workspaces_membership"

    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    workspace_id: Mapped[int] = mapped_column(ForeignKey(Workspace.id))


class Connection(Base):
    __tablename__ = "stripe_connections_stripeconnection"

    id: Mapped[int] = mapped_column(primary_key=True)
    biz_id: Mapped[str]
    workspace_id: Mapped[int] = mapped_column(ForeignKey(Workspace.id))
    connection_name: Mapped[str]
    connection_description: Mapped[str | None]
    stripe_account_id: Mapped[str | None]
    api_key: Mapped[bytes | None] = mapped_column(deferred=True)
    api_key_hint: Mapped[str | None]
    api_key_fingerprint: Mapped[str | None] = mapped_column(deferred=True)
    api_key_replaced_at: Mapped[datetime | None] = mapped_column(deferred=True)
    webhook_secret: Mapped[bytes | None] = mapped_column(deferred=True)
    webhook_secret_hint: Mapped[str | None]
    webhook_secret_fingerprint: Mapped[str | None] = mapped_column(deferred=True)
    webhook_secret_replaced_at: Mapped[datetime | None] = mapped_column(deferred=True)
    partner_endpoint: Mapped[str | None]
    config_json: Mapped[str | None]
    status: Mapped[int]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    def replace_secret(self, name: str, secret: str) -> None:
        """Encrypt a secret, and set its hint and fingerprint."""
        fingerprint = hmac.new(signing_key.encode(), secret.encode(), hashlib.sha256)
        setattr(self, name, fernet.encrypt(secret.encode()))
        setattr(self, f"{name}_hint", f"{secret[: secret.rindex('_') + 1]}…{secret[-4:]}")
        setattr(self, f"{name}_fingerprint", fingerprint.hexdigest())
        setattr(self, f"{name}_replaced_at", datetime.now(UTC))


class LogEntry(Base):
    __tablename__ = "auditlog_logentry"

    id: Mapped[int] = mapped_column(primary_key=True)
    content_type_id: Mapped[int]
    object_pk: Mapped[str]
    object_id: Mapped[int]
    object_repr: Mapped[str]
    action: Mapped[int]
    changes: Mapped[dict[str, Any]]
    changes_text: Mapped[str]
    actor_id: Mapped[int]
    cid: Mapped[str]
    timestamp: Mapped[datetime]
    additional_data: Mapped[dict[str, Any]]


def https(value: str) -> str:
    """Check that the value is an https URL without user information and fragment."""
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("must be an https URL")
    return value


def json_object(value: str) -> str:
    """Check that the value is a JSON object, and return it verbatim."""
    if not isinstance(json.loads(value), dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004  # pydantic expects a ValueError
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"\S")]
Account = Annotated[str, StringConstraints(max_length=255, pattern=r"^acct_[A-Za-z0-9]+$")]
ApiKey = Annotated[str, StringConstraints(max_length=1024, pattern=r"^(sk|rk)_[A-Za-z0-9_]{10,}$")]
WebhookSecret = Annotated[
    str, StringConstraints(max_length=1024, pattern=r"^whsec_[A-Za-z0-9+/=_-]{10,}$")
]
Endpoint = Annotated[str, StringConstraints(max_length=2048), AfterValidator(https)]
Config = Annotated[str, StringConstraints(max_length=16_384), AfterValidator(json_object)]


class Schema(BaseModel):
    """The names are camelCase in JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Update(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    connection_biz_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    # The defaults are never used: only the fields that were sent are written.
    connection_name: Name = ""
    connection_description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    stripe_account_id: Account | None = None
    api_key: ApiKey = ""
    webhook_secret: WebhookSecret = ""
    partner_endpoint: Endpoint | None = None
    config_json: Config | None = None


class Data(Schema):
    biz_id: str
    tenant_biz_id: str
    connection_name: str
    connection_description: str | None
    stripe_account_id: str | None
    partner_endpoint: str | None
    config_json: str | None
    status: int
    status_name: str
    created_at: datetime
    updated_at: datetime


class Envelope(Schema):
    version: str = "1.3.0"
    timestamp: int
    success: bool = True
    code: str = "2000"
    message: str = "SUCCESS"
    data: Data


class Caller(NamedTuple):
    user_id: int
    username: str
    workspace_id: int
    tenant_biz_id: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Read the content type once, because it never changes."""
    statement = text("SELECT id FROM django_content_type WHERE model = 'stripeconnection'")
    async with new_session() as session:
        app.state.content_type_id = (await session.execute(statement)).scalar_one()
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(HTTPException)
async def http_error(request: Request, error: HTTPException) -> JSONResponse:
    """Return the envelope of an error."""
    return failure(error.status_code, str(error.detail))


@app.exception_handler(RequestValidationError)
async def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """Return the envelope for an invalid body, without the values, which may be secrets."""
    faults = [{"field": str(e["loc"][-1]), "message": e["msg"]} for e in error.errors()]
    return failure(400, "Bad request", errors=faults)


def failure(status: int, message: str, **more: Any) -> JSONResponse:
    content = {"version": "1.3.0", "timestamp": time.time_ns() // 1_000_000, "success": False}
    return JSONResponse(content | {"code": f"{status}0", "message": message} | more, status)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield a database session for the request."""
    async with new_session() as session:
        yield session


Database = Annotated[AsyncSession, Depends(get_session)]


async def check_portal(x_portal_access_code: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(x_portal_access_code.encode(), portal_code.encode()):
        raise HTTPException(403, "Forbidden")


async def get_caller(
    workspace_id: str,
    session: Database,
    bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> Caller:
    """Return the manager of the workspace to whom the token belongs."""
    try:
        claims = jwt.decode(bearer.credentials, signing_key, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401, "Invalid or expired token") from None
    found = await session.execute(
        select(User.id, User.username, User.password, Membership.role, Workspace.id, Tenant.biz_id)
        .join(Membership, Membership.user_id == User.id)
        .join(Workspace, Workspace.id == Membership.workspace_id)
        .join(Tenant, Tenant.id == Workspace.tenant_id)
        .where(User.id == int(claims["user_id"]), User.is_active)
        .where(Workspace.biz_id == workspace_id, Workspace.is_active)
    )
    row = found.one_or_none()
    if row is None or row[3] != "manager":
        raise HTTPException(403, "Forbidden")
    user_id, username, password, _, workspace_pk, tenant_biz_id = row
    stamp = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest().upper()
    if claims["token_type"] != "access" or claims["hash_password"] != stamp:  # noqa: S105
        raise HTTPException(401, "Invalid or expired token")
    return Caller(user_id, username, workspace_pk, tenant_biz_id)


@app.post(
    "/web/v1/workspaces/{workspace_id}/stripe/connections/update",
    dependencies=[Depends(check_portal)],
)
async def update_connection(
    *,
    body: Update,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Database,
    request: Request,
    response: Response,
    x_request_id: Annotated[str, Header()],
) -> Envelope:
    found = await session.execute(
        select(Connection)
        .where(Connection.workspace_id == caller.workspace_id)
        .where(Connection.biz_id == body.connection_biz_id)
        .with_for_update()
    )
    connection = found.scalar_one_or_none()
    if connection is None:
        raise HTTPException(404, "Stripe tenant connection not found")
    changes = change(connection, body.model_dump(exclude={"connection_biz_id"}, exclude_unset=True))
    connection.version += 1
    connection.updated_at = datetime.now(UTC)
    session.add(
        LogEntry(
            content_type_id=request.app.state.content_type_id,
            object_pk=str(connection.id),
            object_id=connection.id,
            object_repr=connection.biz_id,
            action=1,
            changes=changes,
            changes_text="",
            actor_id=caller.user_id,
            cid=x_request_id,
            timestamp=connection.updated_at,
            additional_data={
                "source": "api",
                "username": caller.username,
                "version": connection.version,
            },
        )
    )
    await session.commit()
    response.headers["ETag"] = f'"{connection.version}"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Request-Id"] = x_request_id
    return Envelope(timestamp=time.time_ns() // 1_000_000, data=shown(connection, caller))


def change(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Set the attributes; return the old and new values for the audit, and hints of secrets."""
    changes = {}
    for name, value in values.items():
        if name in SECRETS:
            old = getattr(connection, f"{name}_hint")
            connection.replace_secret(name, value)
            changes[name] = [old, f"replaced {getattr(connection, f'{name}_hint')}"]
        else:
            changes[name] = [getattr(connection, name), value]
            setattr(connection, name, value)
    return changes


def shown(connection: Connection, caller: Caller) -> Data:
    return Data(
        biz_id=connection.biz_id,
        tenant_biz_id=caller.tenant_biz_id,
        connection_name=connection.connection_name,
        connection_description=connection.connection_description,
        stripe_account_id=connection.stripe_account_id,
        partner_endpoint=connection.partner_endpoint,
        config_json=connection.config_json,
        status=connection.status,
        status_name="ACTIVE" if connection.status else "INACTIVE",
        created_at=connection.created_at.replace(microsecond=0),
        updated_at=connection.updated_at.replace(microsecond=0),
    )
