"""MLflow servers behind a login or TLS: harness asks for them as MLflow's own client does, and tells no secret."""

import base64
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from harness import masking
from harness.errors import UserError
from harness.study.study import Study
from harness.tracking.mlflow.address import store_trouble
from harness.tracking.mlflow.store import MlflowStore

USER, PASSWORD, TOKEN = "ann", "hunter2hunter2", "tok-12345"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
LOGINS = {
    f"Bearer {TOKEN}": {"MLFLOW_TRACKING_TOKEN": TOKEN},
    BASIC: {
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_TRACKING_TOKEN": TOKEN,  # which counts for nothing then
    },
}


@contextmanager
def server(wanted: str | None = None, refusal: int = 503, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server that is sound to those who bring the wanted login, and repeats it to all others."""

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            status = 200 if wanted in (None, given) else refusal
            self.send_response(status, None if status == 200 else f"no {given}")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, *arguments: object) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Guarded)
    if tls:
        one.socket = tls.wrap_socket(one.socket, server_side=True, do_handshake_on_connect=False)
        one.handle_error = lambda *arguments: None  # type: ignore[method-assign] # of those who hang up
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{one.server_port}"
    finally:
        one.shutdown()
        thread.join()
        one.server_close()


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No login, certificate or proxy of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    parts = ("TOKEN", "USERNAME", "PASSWORD", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *(f"MLFLOW_TRACKING_{part}" for part in parts)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("wanted", LOGINS)
def test_a_server_behind_a_login_is_there(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(wanted) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert store_trouble() == "no MLflow server answers there (it answers 503 no None)"
        for name, value in LOGINS[wanted].items():
            monkeypatch.setenv(name, value)
        assert store_trouble() is None
        asked = http_request(get_default_host_creds(uri), "/health", "GET", max_retries=0)  # type: ignore[no-untyped-call]
        assert asked.status_code == 200, "MLflow's own client brings the same"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("://", "://ann:0ther%20pass@"))  # as requests, so MLflow
        assert store_trouble() is not None


@pytest.mark.parametrize("refusal", [401, 403])
def test_a_server_that_wants_another_login_is_there(refusal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with server("Bearer other", refusal) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert store_trouble() is None


@pytest.mark.parametrize("environment", LOGINS.values(), ids=["token", "password"])
def test_what_a_server_repeats_of_a_login_is_masked(
    environment: dict[str, str], small: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server("Bearer other") as uri:
        for name, value in {**environment, "MLFLOW_TRACKING_URI": uri}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match="it answers 503 no ") as refused:
            MlflowStore().open(small, "journal", {})
    for secret in (PASSWORD, TOKEN, BASIC, BASIC.removeprefix("Basic ")):
        assert secret not in str(refused.value)
    assert "***" in str(refused.value)


def test_short_logins_are_masked_and_no_word_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"USERNAME": "a", "PASSWORD": "b", "TOKEN": "on"}.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    coded = base64.b64encode(b"a:b").decode()
    text = f"a broken bond: Bearer on, Authorization: Basic {coded}, token=on, password 'b', one"
    assert masking.without_secrets(text) == "a broken bond: ***, Authorization: ***, token=***, password '***', one"


def test_the_header_of_a_login_in_an_address_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:p%40ssw0rd@host")
    coded = base64.b64encode(b"ann:p@ssw0rd").decode()
    assert masking.without_secrets(f"got {coded}") == "got ***"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that it has signed itself, and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "harness test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    return path


def test_a_server_over_tls_is_asked_as_the_environment_says(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with server(tls=tls) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert "certificate verify failed" in (store_trouble() or "")
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "True")
            assert store_trouble() is None
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        assert store_trouble() is None
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        both = "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set, and only one may be"
        assert store_trouble() == both


def test_a_server_that_wants_a_certificate_is_brought_one(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.load_verify_locations(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    with server(tls=tls) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        assert store_trouble() is not None
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(certificate))
        assert store_trouble() is None
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", "lost.pem")
        assert store_trouble() == "MLFLOW_TRACKING_CLIENT_CERT_PATH: there is no lost.pem"
