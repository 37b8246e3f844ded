"""Certificates and keys, made by the openssl command."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import time
from pathlib import Path

from k3s_standin.machine import faults, write_private
from k3s_standin.process import FatalError
from k3s_standin.sockets import local_addresses


def openssl(*arguments: str) -> None:
    """Run the openssl command; its complaint becomes the fatal message."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise FatalError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def make_ca(folder: Path, name: str) -> None:
    """``<name>.crt`` and ``<name>.key``, made once."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate.is_file() and key.is_file():
        return
    config = folder / f"{name}.cnf"
    write_private(
        config,
        "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\n"
        f"[dn]\nCN=k3s-standin-{name}@{int(time.time())}\n[ext]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign\nsubjectKeyIdentifier=hash\n",
    )
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    key.chmod(0o600)
    openssl("req", "-x509", "-new", "-key", str(key), "-days", "3650", "-config", str(config), "-out", str(certificate))
    config.unlink()


def certificate_days() -> str:
    """For how long certificates are made: a year, or what K3s's own variable or the faults say."""
    return str(faults().get("certificate_days", os.environ.get("CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS", "365")))


def make_certificate(folder: Path, name: str, ca: str, subject: str, extensions: str) -> None:
    """``<name>.crt`` and ``<name>.key``, signed by ``ca``, made anew each time so that the addresses in it are true."""
    certificate, key, request = (folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
    config = folder / f"{name}.cnf"
    write_private(
        config,
        f"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\n{subject}\n[ext]\nbasicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\nsubjectKeyIdentifier=hash\n"
        f"authorityKeyIdentifier=keyid\n{extensions}\n",
    )
    if not key.is_file():
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
        key.chmod(0o600)
    openssl("req", "-new", "-key", str(key), "-config", str(config), "-out", str(request))
    openssl(
        "x509", "-req", "-in", str(request), "-CA", str(folder / f"{ca}.crt"), "-CAkey", str(folder / f"{ca}.key"),
        "-set_serial", str(secrets.randbits(63)), "-days", certificate_days(), "-extfile", str(config),
        "-extensions", "ext", "-out", str(certificate),
    )  # fmt: skip
    config.unlink()
    request.unlink()


def is_lasting(folder: Path, name: str, ca: str) -> bool:
    """Whether a certificate is there, of that CA, and not in its last 90 days, when K3s makes it anew at a start."""
    certificate = folder / f"{name}.crt"
    if "certificate_days" in faults() or not certificate.is_file():
        return False
    try:
        openssl("x509", "-checkend", str(90 * 86400), "-noout", "-in", str(certificate))
        openssl("verify", "-CAfile", str(folder / f"{ca}.crt"), str(certificate))
    except FatalError:
        return False
    return True


def make_certificates(folder: Path, alternative_names: list[str]) -> None:
    """Everything below ``server/tls``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_ca(folder, "server-ca")
    make_ca(folder, "client-ca")
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", socket.gethostname()]
    entries = list(dict.fromkeys([*names, "127.0.0.1", "10.43.0.1", *local_addresses(), *alternative_names]))
    listed = ",".join(f"{'IP' if re.fullmatch(r'[0-9.]+|.*:.*', e) else 'DNS'}:{e}" for e in entries if e)
    make_certificate(
        folder, "serving-kube-apiserver", "server-ca", "CN=kube-apiserver",
        f"extendedKeyUsage=serverAuth\nsubjectAltName={listed}",
    )  # fmt: skip
    if not is_lasting(folder, "client-admin", "client-ca"):
        make_certificate(
            folder, "client-admin", "client-ca", "O=system:masters\nCN=system:admin", "extendedKeyUsage=clientAuth"
        )
