"""What OpenStack's services read: their configuration files, written for one folder and one set of ports."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

REGION = "RegionOne"
HOST = "bed-host"
"""The compute host."""
EXTERNAL_NETWORK = "public"
TOKEN_CACHE = 1
"""For how many seconds a service does not ask again whether a token is still good; five minutes, usually."""
DATABASES = ("keystone", "glance", "placement", "nova_api", "nova_cell0", "nova", "neutron", "cinder")
CATALOG = {
    "keystone": ("identity", "/v3"),
    "glance": ("image", ""),
    "placement": ("placement", ""),
    "nova": ("compute", "/v2.1"),
    "neutron": ("network", ""),
    "cinder": ("block-storage", "/v3"),
}
"""Service to its type and the path of its endpoint."""
SERVICES = tuple(CATALOG)

Sections = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Place:
    """Where one bed lives, and the secrets in it.

    Args:
        folder: Holds everything.
        programs: Where the programs of the services are.
        ports: Service to the port that the other services use and the one for clients; the broker's under ``broker``.
        secret: Password of the services' own user in keystone and at the broker.
    """

    folder: Path
    programs: Path
    ports: dict[str, tuple[int, int]]
    secret: str

    @property
    def kept(self) -> Path:
        """What a later bed can be started from."""
        return self.folder / "kept"

    @property
    def socket(self) -> Path:
        """Where the database listens, and nowhere else."""
        return self.folder / "mysql.sock"

    def configuration(self, service: str) -> Path:
        """The folder of a service's files."""
        return self.folder / "etc" / service

    def url(self, service: str, interface: str) -> str:
        """An endpoint of the catalog."""
        internal, public = self.ports[service]
        schema = "https" if (service, interface) == ("keystone", "public") else "http"
        return f"{schema}://127.0.0.1:{public if interface == 'public' else internal}{CATALOG[service][1]}"

    def database(self, name: str) -> str:
        """URL of a database; who may open the socket needs no password."""
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}&charset=utf8"

    @property
    def broker(self) -> str:
        """URL of the message broker."""
        return f"rabbit://services:{self.secret}@127.0.0.1:{self.ports['broker'][0]}/"


def write(place: Place) -> None:
    """Write every file, and what makes neutron and cinder find their drivers."""
    for service, files in _files(place).items():
        folder = place.configuration(service)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(content if isinstance(content, str) else _ini(content), encoding="utf-8")
    # Its interface looks in the home folder, and nobody can tell it otherwise.
    (place.folder / ".cinder").symlink_to(place.configuration("cinder"))
    information = place.folder / "python" / "openstack_bed-0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: openstack-bed\nVersion: 0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(
        "[neutron.ml2.mechanism_drivers]\nbed = every_port_is_bound:EveryPortIsBound\n", encoding="utf-8"
    )
    for name in ("every_port_is_bound.py", "every_volume_is_made.py"):
        driver = Path(__file__).with_name(name)
        (information.parent / name).write_text(driver.read_text(encoding="utf-8"), encoding="utf-8")


def environment(place: Place) -> dict[str, str]:
    """What every service finds."""
    nova = place.configuration("nova")
    return {
        "PATH": f"{place.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(place.folder),
        "LANG": "C.UTF-8",
        "TMPDIR": str(place.folder),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(place.folder / "python"),
        "PYTHONWARNINGS": "ignore",
        "OS_KEYSTONE_CONFIG_DIR": str(place.configuration("keystone")),
        "OS_GLANCE_CONFIG_DIR": str(place.configuration("glance")),
        "OS_PLACEMENT_CONFIG_DIR": str(place.configuration("placement")),
        "OS_NOVA_CONFIG_DIR": str(nova),
        "OS_NOVA_CONFIG_FILES": "nova-paste.ini;nova.conf",
        "OS_NEUTRON_CONFIG_DIR": str(place.configuration("neutron")),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
    }


def _files(place: Place) -> dict[str, dict[str, Sections | str]]:
    keystone, neutron = place.configuration("keystone"), place.configuration("neutron")
    shipped = place.programs.parent / "etc"
    return {
        "keystone": {
            "keystone.conf": {
                "DEFAULT": {"use_stderr": "true"},
                "database": {"connection": place.database("keystone")},
                "cache": {"enabled": "true", "backend": "oslo_cache.dict"},
                "fernet_tokens": {"key_repository": place.kept / "fernet-keys"},
                "fernet_receipts": {"key_repository": place.kept / "fernet-keys"},
                "credential": {"key_repository": place.kept / "credential-keys"},
                # Each hash takes a tenth of a second otherwise, on purpose; these passwords live for minutes.
                "identity": {"password_hash_rounds": 4},
                "oslo_policy": {"policy_file": keystone / "policy.yaml"},
            },
            "policy.yaml": "{}\n",
        },
        "glance": {
            "glance-api.conf": {
                "DEFAULT": {
                    "use_stderr": "true",
                    "enabled_backends": "files:file",
                    "enabled_import_methods": "[]",
                    "node_staging_uri": f"file://{place.folder / 'staging'}",
                },
                "database": {"connection": place.database("glance")},
                "glance_store": {"default_backend": "files"},
                "files": {"filesystem_store_datadir": place.kept / "images"},
                "os_glance_tasks_store": {"filesystem_store_datadir": place.folder / "tasks"},
                "os_glance_staging_store": {"filesystem_store_datadir": place.folder / "staging"},
                "paste_deploy": {"flavor": "keystone", "config_file": shipped / "glance" / "glance-api-paste.ini"},
                "keystone_authtoken": _authtoken(place),
                "oslo_concurrency": {"lock_path": place.folder / "locks"},
            },
        },
        "placement": {
            "placement.conf": {
                "DEFAULT": {"use_stderr": "true"},
                "placement_database": {"connection": place.database("placement")},
                "api": {"auth_strategy": "keystone"},
                "keystone_authtoken": _authtoken(place),
            },
        },
        "nova": {
            "nova-paste.ini": (shipped / "nova" / "api-paste.ini").read_text(encoding="utf-8"),
            "nova.conf": _nova(place),
            "provider.yaml": textwrap.dedent(
                """\
                meta: {schema_version: '1.0'}
                providers:
                  - identification: {uuid: $COMPUTE_NODE}
                    inventories:
                      additional:
                        - CUSTOM_GPU: {total: 4, max_unit: 4, allocation_ratio: 1.0}
                    traits:
                      additional: [CUSTOM_GPU_V100]
                """
            ),
        },
        "neutron": {
            "neutron.conf": {
                "DEFAULT": {
                    "use_stderr": "true",
                    "state_path": place.folder / "neutron",
                    "transport_url": place.broker,
                    "auth_strategy": "keystone",
                    "core_plugin": "ml2",
                    "service_plugins": "router",
                    "api_paste_config": shipped / "neutron" / "api-paste.ini",
                    "dhcp_agent_notification": "false",
                    "notify_nova_on_port_status_changes": "false",
                    "notify_nova_on_port_data_changes": "false",
                },
                "database": {"connection": place.database("neutron")},
                "keystone_authtoken": _authtoken(place),
                "oslo_concurrency": {"lock_path": place.folder / "locks"},
                "ml2": {
                    "type_drivers": "flat,vxlan",
                    "tenant_network_types": "vxlan",
                    "mechanism_drivers": "bed",
                    "extension_drivers": "port_security",
                },
                "ml2_type_flat": {"flat_networks": EXTERNAL_NETWORK},
                "ml2_type_vxlan": {"vni_ranges": "1:4000"},
                "quotas": {
                    "quota_port": 1000,
                    "quota_floatingip": 200,
                    "quota_network": 200,
                    "quota_subnet": 200,
                    "quota_router": 100,
                    "quota_security_group": 200,
                    "quota_security_group_rule": 2000,
                },
                "oslo_policy": {"policy_file": neutron / "policy.yaml"},
            },
            "policy.yaml": "{}\n",
        },
        "cinder": {"cinder.conf": _cinder(place, shipped / "cinder")},
    }


def _cinder(place: Place, shipped: Path) -> Sections:
    """For the API, the scheduler and the volume host alike."""
    return {
        "DEFAULT": {
            "use_stderr": "true",
            "host": HOST,
            "my_ip": "127.0.0.1",
            "state_path": place.folder / "cinder",
            "transport_url": place.broker,
            "auth_strategy": "keystone",
            "api_paste_config": shipped / "api-paste.ini",
            "resource_query_filters_file": shipped / "resource_filters.json",
            "glance_catalog_info": "image:glance:internalURL",
            "enabled_backends": "bed",
            "report_interval": 5,
            "quota_volumes": 200,
            "quota_gigabytes": 20000,
        },
        "bed": {"volume_driver": "every_volume_is_made.EveryVolumeIsMade", "volume_backend_name": "bed"},
        "database": {"connection": place.database("cinder")},
        "keystone_authtoken": _authtoken(place),
        "coordination": {"backend_url": f"file://{place.folder / 'locks'}"},
        "oslo_concurrency": {"lock_path": place.folder / "locks"},
    }


def _nova(place: Place) -> Sections:
    """For the API, the conductor, the scheduler and the compute host alike."""
    return {
        "DEFAULT": {
            "use_stderr": "true",
            "host": HOST,
            "my_ip": "127.0.0.1",
            "state_path": place.kept / "nova",
            "instances_path": place.folder / "instances",
            "transport_url": place.broker,
            "compute_driver": "fake.FakeDriverWithoutFakeNodes",
            "concurrency_backend": "threading",
            # Nobody plugs a cable in, so nobody says so.
            "vif_plugging_timeout": 0,
            "vif_plugging_is_fatal": "false",
            "report_interval": 5,
            "allow_resize_to_same_host": "true",
            "initial_cpu_allocation_ratio": 1,
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": {"connection": place.database("nova_api")},
        "database": {"connection": place.database("nova")},
        "keystone_authtoken": _authtoken(place),
        "service_user": {"send_service_user_token": "true", **_client(place)},
        "glance": {"valid_interfaces": "internal", "region_name": REGION},
        "placement": {**_client(place), "valid_interfaces": "internal", "region_name": REGION},
        "neutron": {**_client(place), "valid_interfaces": "internal", "region_name": REGION},
        "cinder": {**_client(place), "catalog_info": "block-storage::internalURL", "os_region_name": REGION},
        "compute": {"provider_config_location": place.configuration("nova")},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "vnc": {"enabled": "false"},
        "oslo_concurrency": {"lock_path": place.folder / "locks"},
        "quota": {"instances": 200, "cores": 800, "ram": 1600000, "key_pairs": 200, "server_groups": 100},
    }


def _client(place: Place) -> dict[str, object]:
    """How one service logs in to ask another."""
    return {
        "auth_type": "password",
        "auth_url": place.url("keystone", "internal"),
        "username": "services",
        "password": place.secret,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }


def _authtoken(place: Place) -> dict[str, object]:
    """How a service has the tokens of its callers checked."""
    return {
        **_client(place),
        "www_authenticate_uri": place.url("keystone", "public"),
        "interface": "internal",
        "region_name": REGION,
        "token_cache_time": TOKEN_CACHE,
        "service_token_roles": "service",
        "service_token_roles_required": "true",
    }


def _ini(sections: Sections) -> str:
    lines: list[str] = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{name} = {str(value).replace('$', '$$')}" for name, value in values.items()), ""]
    return "\n".join(lines)
