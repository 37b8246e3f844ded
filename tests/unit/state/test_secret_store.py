"""Sealed secrets: made once, rotated when asked for, readable by nobody without the key, never in a message."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from pathlib import Path

import pytest

from orchestrator.errors import StateError
from orchestrator.state.document_file import FileDocument
from orchestrator.state.document_store import StoredDocument
from orchestrator.state.secret_envelope import SecretKey, seal, unseal
from orchestrator.state.secret_file import PlainSecretFile
from orchestrator.state.secret_keys import FileKeys, GivenKeys, KeyringKeys, find_keys, render_key
from orchestrator.state.secret_store import SealedSecretStore
from orchestrator.state.secrets import SecretKind

KEY = SecretKey(bytes(range(32)))


class Place:
    """A folder with a sealed document, and a key file elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "demo" / "secrets"
        self.document = self.secrets / "sealed.json"
        self.plain = self.secrets / "secrets.json"
        self.key = folder / "settings" / "secrets.key"

    def store(self, deployment: str = "demo", key: Path | None = None) -> SealedSecretStore:
        return SealedSecretStore(
            FileDocument(self.document), deployment, FileKeys(key or self.key), PlainSecretFile(self.secrets)
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_value_is_made_once_and_stays(place: Place) -> None:
    store = place.store()
    assert store.get("oscar-password") is None
    assert not place.secrets.exists(), "looking writes nothing"
    assert not place.key.exists()
    value = store.get_or_create("oscar-password")
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", value)
    assert store.get_or_create("oscar-password") == value
    assert place.store().get("oscar-password") == value
    assert store.get_or_create("other") != value
    assert set(store.values()) == {value, store.get("other")}


def test_nothing_readable_is_on_the_disk(place: Place) -> None:
    key = "-----BEGIN KEY-----\nabc\u2028é\n-----END KEY-----\n"
    place.store().put("a-name", "the-value-of-it")
    place.store().put("key", key)
    assert place.store().get("key") == key
    content = place.document.read_bytes()
    for text in (b"the-value", base64.b64encode(b"the-value-of-it")[:12], b"BEGIN KEY", b"a-name"):
        assert text not in content
    envelope = json.loads(content)
    assert set(envelope) == {"kind", "schema", "cipher", "key", "nonce", "sealed"}
    assert (envelope["schema"], envelope["cipher"]) == (2, "AES-256-GCM")


def test_every_write_has_another_nonce(place: Place) -> None:
    seen = set()
    for number in range(20):
        place.store().put("a", f"value {number}")
        seen.add(json.loads(place.document.read_bytes())["nonce"])
    assert len(seen) == 20


def test_only_the_owner_can_read_document_and_key(place: Place) -> None:
    old = os.umask(0)
    try:
        place.store().put("a", "value")
    finally:
        os.umask(old)
    assert place.secrets.stat().st_mode & 0o777 == 0o700
    assert place.document.stat().st_mode & 0o777 == 0o600
    assert place.key.stat().st_mode & 0o777 == 0o600
    assert place.key.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in place.secrets.iterdir()] == ["sealed.json"]
    assert [path.name for path in place.key.parent.iterdir()] == ["secrets.key"]


@pytest.mark.parametrize(("which", "mode", "mend"), [("document", 0o640, "600"), ("secrets", 0o755, "700")])
def test_a_document_that_is_open_to_others_is_refused(place: Place, which: str, mode: int, mend: str) -> None:
    place.store().put("a", "the-value")
    path: Path = getattr(place, which)
    closed = path.stat().st_mode & 0o777
    path.chmod(mode)
    for use in (lambda s: s.get("a"), lambda s: s.put("b", "x"), lambda s: s.get_or_create("a")):
        with pytest.raises(StateError, match="open to others") as caught:
            use(place.store())
        assert f"{mode:04o}" in caught.value.detail
        assert f"chmod {mend}" in caught.value.resolution
    assert place.store().values() == (), "output goes on when nothing can be known"
    path.chmod(closed)
    assert place.store().get("a") == "the-value"


def test_a_key_that_is_open_to_others_is_refused(place: Place) -> None:
    place.store().put("a", "the-value")
    place.key.chmod(0o644)
    with pytest.raises(StateError, match="open to others"):
        place.store().get("a")


def test_what_belongs_to_another_user_is_refused(place: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    place.store().put("a", "value")
    os.chown(place.key, 65534, 65534)
    with pytest.raises(StateError, match="belong to another user"):
        place.store().get("a")


def test_another_key_is_refused_and_the_message_says_where_keys_are_looked_for(place: Place) -> None:
    place.store().put("a", "the-value")
    sealed = place.document.read_bytes()
    wrong = place.key.with_name("other.key")
    FileKeys(wrong).make()
    for key in (wrong, place.key.with_name("none.key")):
        for use in (lambda s: s.get("a"), lambda s: s.put("b", "x"), lambda s: s.get_or_create("b")):
            with pytest.raises(StateError, match=r"The secrets cannot be opened\.") as caught:
                use(place.store(key=key))
            for part in ("DEPLOY_SECRETS_KEY ", "DEPLOY_SECRETS_KEY_FILE", str(key), "secrets.key", "Nothing was"):
                assert part in caught.value.detail
            assert json.loads(sealed)["key"] in caught.value.detail
    assert not place.key.with_name("none.key").exists(), "no key is made where one is missing"
    assert place.document.read_bytes() == sealed


def test_a_document_cannot_take_the_place_of_another_deployments(place: Place) -> None:
    place.store().put("a", "the-value")
    with pytest.raises(StateError, match="cannot be read") as caught:
        place.store("another").get("a")
    assert "belong to another deployment" in caught.value.detail


def test_every_changed_byte_is_noticed() -> None:
    sealed = json.loads(seal(b'{"secrets": {}}', KEY, "demo"))
    for name in ("nonce", "sealed"):
        raw = bytearray(base64.b64decode(sealed[name]))
        for position in range(len(raw)):
            changed = bytes(raw[:position]) + bytes([raw[position] ^ 1]) + bytes(raw[position + 1 :])
            content = json.dumps(sealed | {name: base64.b64encode(changed).decode()}).encode()
            with pytest.raises(StateError, match="cannot be read"):
                unseal(content, lambda _id: KEY, "demo")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b'{"kind": "continuum-deploy secrets"', b'{"kind": 3}', b'"the-value"'],
)
def test_a_damaged_document_is_refused_without_showing_it(place: Place, content: bytes) -> None:
    place.store().put("a", "value")
    place.document.write_bytes(content)
    for use in (lambda s: s.get_or_create("a"), lambda s: s.put("b", "the-value")):
        with pytest.raises(StateError, match="cannot be read") as caught:
            use(place.store())
        assert "the-val" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert place.document.read_bytes() == content, "a damaged document is never written over"


def test_one_of_a_newer_version_is_refused(place: Place) -> None:
    place.store().put("a", "value")
    envelope = json.loads(place.document.read_bytes()) | {"schema": 3}
    place.document.write_text(json.dumps(envelope), encoding="utf-8")
    with pytest.raises(StateError, match="cannot be read") as caught:
        place.store().get("a")
    assert "form 3" in caught.value.detail


def plain(place: Place, values: dict[str, str]) -> None:
    place.secrets.mkdir(mode=0o700, parents=True)
    place.plain.write_text(json.dumps({"schema": 1, "secrets": values}), encoding="utf-8")
    place.plain.chmod(0o600)


def test_a_plain_file_of_an_older_version_is_read_and_sealed_by_the_next_write(place: Place) -> None:
    plain(place, {"a": "value of a", "b": "value of b"})
    store = place.store()
    assert store.get("a") == "value of a"
    assert set(store.values()) == {"value of a", "value of b"}
    assert store.get_or_create("b") == "value of b"
    assert place.plain.exists(), "reading changes nothing"
    store.put("c", "value of c")
    assert not place.plain.exists()
    assert {s.name: (s.value, s.version) for s in place.store().entries()} == {
        "a": ("value of a", 1),
        "b": ("value of b", 1),
        "c": ("value of c", 1),
    }


def test_a_plain_file_that_a_crash_left_beside_the_sealed_one_does_not_count(place: Place) -> None:
    place.store().put("a", "new")
    place.plain.write_text(json.dumps({"schema": 1, "secrets": {"a": "old"}}), encoding="utf-8")
    place.plain.chmod(0o600)
    assert place.store().get("a") == "new"
    place.store().put("b", "x")
    assert not place.plain.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b'{"schema": 1, "secrets": {"a": "the-val', b'{"schema": 1, "secrets": {"the-value": 3}}', b"\xff\xfe"],
)
def test_a_damaged_plain_file_is_refused_without_showing_it(place: Place, content: bytes) -> None:
    plain(place, {})
    place.plain.write_bytes(content)
    with pytest.raises(StateError, match="cannot be read") as caught:
        place.store().get_or_create("a")
    assert str(place.plain) in caught.value.detail
    assert "the-val" not in str(caught.value)
    assert place.plain.read_bytes() == content


def test_rotation_keeps_the_older_value_until_nothing_runs_with_it(place: Place) -> None:
    store = place.store()
    first = store.get_or_create("a")
    assert store.versions() == {}
    rotated = store.rotate("a")
    assert (rotated.version, rotated.kind) == (2, SecretKind.GENERATED)
    second = store.get("a")
    assert second != first
    assert (store.get("a", 1), store.get("a", 2), store.get_or_create("a", 1)) == (first, second, first)
    assert place.store().versions() == {"a": 2}
    assert {first, second} <= set(place.store().values())
    store.rotate("a")
    store.forget_old({"a": {1}})
    assert (store.get("a", 1), store.get("a", 2)) == (first, store.get("a", 3))
    store.forget_old({})
    assert store.get("a", 1) == store.get("a", 3)
    assert first in store.values(), "what this process has seen stays masked"


def test_setting_a_secret_again_is_a_new_version_even_with_the_same_value(place: Place) -> None:
    store = place.store()
    assert store.assign("a", "from elsewhere").kind is SecretKind.SET
    assert store.assign("a", "from elsewhere").version == 2
    store.put("a", "from elsewhere")
    assert store.assign("a", "env:PASSWORD").kind is SecretKind.REFERENCE
    assert place.store().versions() == {"a": 3}
    assert "env:PASSWORD" not in store.values()


def test_a_new_key_seals_anew_and_the_old_one_alone_no_longer_opens(place: Place) -> None:
    store = place.store()
    value = store.get_or_create("a")
    before, old_key = json.loads(place.document.read_bytes()), place.key.read_text(encoding="ascii")
    after = store.rotate_key()
    assert json.loads(place.document.read_bytes())["key"] == after != before["key"]
    assert place.store().get("a") == value
    assert [key.id for key in FileKeys(place.key).read()] == [after, before["key"]]
    place.key.write_text(old_key, encoding="ascii")
    with pytest.raises(StateError, match="cannot be opened"):
        place.store().get("a")


def test_another_document_under_the_old_key_stays_readable(tmp_path: Path) -> None:
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    two.key = one.key
    value = one.store().get_or_create("a")
    two.store().put("b", "x")
    two.store().rotate_key()
    assert one.store().get("a") == value
    one.store().put("c", "y")
    assert json.loads(one.document.read_bytes())["key"] == json.loads(two.document.read_bytes())["key"]


def test_keys_that_are_given_by_a_variable_are_rotated_by_putting_one_in_front(place: Place) -> None:
    old, new = render_key(KEY), render_key(SecretKey(bytes(32)))
    document = FileDocument(place.document)
    SealedSecretStore(document, "demo", GivenKeys(old)).put("a", "value")
    with pytest.raises(StateError, match="cannot be made anew") as caught:
        SealedSecretStore(document, "demo", GivenKeys(old)).rotate_key()
    assert old not in str(caught.value)
    assert SealedSecretStore(document, "demo", GivenKeys(f"{new},{old}")).rotate_key() == SecretKey(bytes(32)).id
    assert SealedSecretStore(document, "demo", GivenKeys(new)).get("a") == "value"


@pytest.mark.parametrize("text", ["letmein", render_key(KEY)[:-3], render_key(KEY) + ",x", "cdk1-" + "é" * 43])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(StateError, match="cannot be read") as caught:
        GivenKeys(text).read()
    assert text not in str(caught.value)


def test_where_the_key_is_looked_for(tmp_path: Path) -> None:
    assert "variable DEPLOY_SECRETS_KEY" in find_keys({"DEPLOY_SECRETS_KEY": render_key(KEY)}).place
    assert isinstance(find_keys({"DEPLOY_SECRETS_KEY": "keyring:"}), KeyringKeys)
    assert find_keys({"DEPLOY_SECRETS_KEY_FILE": str(tmp_path / "k")}).place == f"the file {tmp_path / 'k'}"
    assert find_keys({"XDG_CONFIG_HOME": str(tmp_path)}).place == f"the file {tmp_path}/continuum-deploy/secrets.key"
    assert find_keys({}).place == f"the file {Path.home()}/.config/continuum-deploy/secrets.key"


def test_two_processes_that_make_the_first_key_at_once_get_the_same(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(FileKeys(tmp_path / "k").make().id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert set(found) == {key.id for key in FileKeys(tmp_path / "k").read()}


class MemoryKeyring:
    """A keyring of the system, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, account: str) -> str | None:
        return self.kept.get((service, account))

    def set_password(self, service: str, account: str, password: str) -> None:
        self.kept[service, account] = password


def test_the_keyring_of_the_system_can_hold_the_key(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring

    ring = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_password", ring.get_password)
    monkeypatch.setattr(keyring, "set_password", ring.set_password)
    document = FileDocument(place.document)
    SealedSecretStore(document, "demo", KeyringKeys()).put("a", "value")
    assert list(ring.kept) == [("continuum-deploy", "secrets-key")]
    SealedSecretStore(document, "demo", KeyringKeys()).rotate_key()
    assert SealedSecretStore(document, "demo", KeyringKeys()).get("a") == "value"
    assert not place.key.exists()


def test_a_keyring_that_is_not_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.errors import NoKeyringError

    def refuse(_service: str, _account: str) -> str | None:
        raise NoKeyringError("no backend")

    monkeypatch.setattr(keyring, "get_password", refuse)
    with pytest.raises(StateError, match="keyring cannot be used"):
        KeyringKeys().read()


def test_another_process_that_writes_meanwhile_loses_nothing(place: Place) -> None:
    first, second = place.store(), place.store()
    first.put("a", "1111")
    assert second.values() == ("1111",)
    first.put("b", "2222")
    second.put("c", "3333")
    assert {s.name for s in place.store().entries()} == {"a", "b", "c"}
    assert first.get("c") == "3333", "what is missing is looked for again"


class Busy:
    """A document that somebody else replaces right before the first write."""

    def __init__(self, document: FileDocument, other: SealedSecretStore) -> None:
        self._document, self._other, self._once = document, other, True

    def read(self) -> StoredDocument | None:
        return self._document.read()

    def write(self, content: bytes, previous: str) -> str:
        if self._once:
            self._once = False
            self._other.put("theirs", "2222")
        return self._document.write(content, previous)

    def delete(self) -> None:
        self._document.delete()


def test_a_change_that_came_too_late_is_made_again_on_top(place: Place) -> None:
    document = FileDocument(place.document)
    store = SealedSecretStore(Busy(document, place.store()), "demo", FileKeys(place.key))
    store.put("ours", "1111")
    assert {s.name: s.value for s in place.store().entries()} == {"ours": "1111", "theirs": "2222"}


def test_threads_agree_on_one_value(place: Place) -> None:
    store = place.store()
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(store.get_or_create("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_clear_removes_every_value(place: Place) -> None:
    plain(place, {"a": "b"})
    store = place.store()
    store.clear()
    store.put("a", "value")
    store.clear()
    assert place.store().entries() == ()
    assert list(place.secrets.iterdir()) == []
    assert place.key.exists(), "the key is the user's, not the deployment's"
