"""What must not be shown or written: passwords in addresses, and secrets that the environment holds.

shown("postgresql://ann:s3cret@db/runs")      # "postgresql://ann:***@db/runs"
without_secrets(str(error))                   # the same, wherever in a text
"""

import base64
import os
import re
from urllib.parse import parse_qsl, quote, unquote

SECRET_NAME = re.compile("PASSWORD|PASSWD|_PWD$|SECRET|TOKEN|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE)
LOGIN = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")  # secrets however short they are
SHORT = 6  # a variable's value below this is a switch, no secret; a password below it may be a part of any word


def shown(uri: str) -> str:
    """An address as it may be shown: the user's name stays, the password and the query (it may hold one) go."""
    scheme, user, password, place, _ = _parts(uri)
    login = f"{user}:***@" if password else f"{user}@" if user else ""
    return f"{scheme}{login}{place}"


def public(uri: str) -> str:
    """An address as it may be linked to: without user, password and query."""
    scheme, _, _, place, _ = _parts(uri)
    return f"{scheme}{place}"


def is_ambiguous(uri: str) -> bool:
    """Whether a password is not percent-encoded: a library would take a part of it for the host, and tell it."""
    return bool(re.search("[@/?#]", _parts(uri)[2]))


def login() -> tuple[str, str, str]:
    """User, password and token that the environment has for MLflow's client; "" where it has none."""
    user, password, token = (
        os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    return user, password, token


def basic(user: str, password: str) -> str:
    """What a login becomes on its way to a server: anybody can read it back."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def without_secrets(text: str) -> str:
    """A text with every secret in it masked: of any address in the environment, and of variables named like one."""
    secrets: set[str] = set()
    for name, value in os.environ.items():
        if "://" in value:
            secrets |= _secrets_of(value)
        if SECRET_NAME.search(name) and (len(value) >= SHORT or name in LOGIN):
            secrets |= _spellings(value) | _spellings(value.strip())
    user, password, token = login()
    secrets |= _headers(user, password) | ({f"Bearer {token}"} if token else set())
    for secret in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(secret, "***") if len(secret) >= SHORT else _masked_as_a_value(secret, text)
    return text


def _masked_as_a_value(secret: str, text: str) -> str:
    """Without a secret so short that it lies in words too: where it stands behind a :, a = or a quotation mark."""
    return re.sub(rf"([:='\"`]){re.escape(secret)}(?!\w)", r"\1***", text)


def _parts(uri: str) -> tuple[str, str, str, str, str]:
    """Scheme with its "://", user, password, host and path, query.

    A password ends at the last @, whatever is in it: some people do not encode theirs, and rather too much is hidden.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:  # a folder
        return "", "", "", uri, ""
    login = user = password = ""
    if not rest.startswith("/"):  # else a file, or a server that only the query names
        login, _, rest = rest.rpartition("@")
        user, _, password = login.partition(":")
    place, _, query = rest.partition("?")
    return f"{scheme}://", user, password, place.partition("#")[0], query


def _secrets_of(uri: str) -> set[str]:
    """The passwords of an address, in every spelling in which a message may repeat them."""
    _, user, password, _, query = _parts(uri)
    found = {password, *(value for key, value in parse_qsl(query) if SECRET_NAME.search(key))}
    return {spelt for one in found for spelt in _spellings(one)} | _headers(unquote(user), unquote(password))


def _spellings(secret: str) -> set[str]:
    return {secret, unquote(secret), quote(unquote(secret), safe="")} if secret else set()


def _headers(user: str, password: str) -> set[str]:
    """A login as a message may repeat it on its way to a server; nothing without user and password."""
    if not (user and password):
        return set()
    header = basic(user, password)
    return {header, header.removeprefix("Basic ")}
