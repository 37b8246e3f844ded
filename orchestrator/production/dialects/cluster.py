"""The part of a template that makes an OSCAR cluster of its own: machines, Kubernetes, OSCAR, monitoring."""

from __future__ import annotations

from typing import Any

from orchestrator.production.dialects.drift import drift_detector_spec
from orchestrator.production.dialects.machines import KUBERNETES, KUBERNETES_ROLE, add_worker, front_end
from orchestrator.production.dialects.settings import Secrets
from orchestrator.production.dialects.sites import Site
from orchestrator.production.dialects.wiring import Wiring

Tree = dict[str, Any]


_PLAYS = "https://raw.githubusercontent.com/grycap/ec3/tosca/tosca/artifacts"
_DEFAULT_WORKERS = 1
_POWER = (
    ("scheduling", "IDLE_TIME", "300"),
    ("scheduling", "RECONSIDER_JOB_TIME", "60"),
    ("monitoring", "MAX_WAIT_POWERON", "3000"),
    ("monitoring", "MAX_WAIT_POWEROFF", "600"),
    ("monitoring", "PERIOD_LIFECYCLE", "20"),
    ("monitoring", "PERIOD_MONITORING_NODES", "20"),
    ("client", "CLUES_REQUEST_WAIT_TIMEOUT", "3000"),
    (
        "scheduling",
        "SCHEDULER_CLASSES",
        ", ".join(
            f"clueslib.schedulers.CLUES_Scheduler_{name}"
            for name in ("PowOn_Requests", "Reconsider_Jobs", "PowOff_IDLE", "PowOn_Free")
        ),
    ),
    ("scheduling", "EXTRA_SLOTS_FREE", "1"),
)


def get_input(name: str) -> Tree:
    """The value of an input."""
    return {"get_input": name}


def host_name(before: str = "", after: str = "", separator: str = ".") -> Tree:
    """A name in the cluster's domain, with what stands before and after it."""
    parts: list[Any] = [get_input("cluster_name"), separator, get_input("domain_name")]
    return {"concat": [*([before] if before else []), *parts, *([after] if after else [])]}


def oscar_cluster(site: Site, wiring: Wiring) -> Tree:
    """Inputs, node templates and outputs of the cluster that a component gets."""
    elastic = 0 if site.is_physical else wiring.settings.elastic
    nodes: Tree = {
        "front": front_end(site, wiring.secrets),
        "lrms_front_end": _kubernetes(site),
        "monitoring": _monitoring(),
        "oscar": _oscar(),
    }
    if not site.is_physical:
        nodes["my_block_storage"] = {
            "type": "tosca.nodes.BlockStorage",
            "properties": {"size": get_input("storage_size")},
        }
    worker = add_worker(nodes, site, wiring.secrets, is_elastic=bool(elastic))
    if elastic:
        nodes["elastic_cluster_front_end"] = _elastic(worker, wiring.secrets)
    if wiring.drift is site:
        nodes["drift_detector"] = _drift_detector(site, wiring)
    return {"inputs": _inputs(site, wiring, elastic), "node_templates": nodes, "outputs": _outputs()}


def _inputs(site: Site, wiring: Wiring, elastic: int) -> Tree:
    top, secrets = wiring.measurements(site), wiring.secrets
    layer = site.placed.layer.number

    def text(default: str, description: str = "") -> Tree:
        return {"type": "string", "default": default} | ({"description": description} if description else {})

    inputs: Tree = {
        "admin_token": text(secrets.generated(site.secret("admin-token"))),
        "app_name": text(wiring.companions.application, "App name"),
        "cert_user_email": text("jhondoe@server.com"),
        "cluster_name": text(site.cluster),
        "domain_name": text(site.domain),
        "fe_cpus": {"type": "integer", "default": 4},
        "fe_disk": {"type": "scalar-unit.size", "default": "40 GB"},
        "fe_mem": {"type": "scalar-unit.size", "default": "4 GB"},
        "fe_os_image": text(site.placed.resource.system.image_id),
        "local_influx_pass": text(
            secrets.generated(site.secret("influx-password")), "Admin pass for the local influx endpoint"
        ),
        "local_influx_token": text(site.influx_token(secrets), "API TOKEN for the local influx endpoint"),
        "max_wn_num": {
            "type": "integer",
            "default": elastic or _DEFAULT_WORKERS,
            "description": "Maximum Number of WNs in the OSCAR cluster",
            "required": True,
        },
        "minio_password": text(site.store_keys(secrets)[1]),
        "oscar_password": text(secrets.generated(site.secret("oscar-password"))),
        "qos_constraints": text(wiring.companions.constraints_of(layer), "App QoS Constraints"),
        "storage_size": text("100 GB"),
    }
    is_top = wiring.top is site
    for name, value, description in (
        ("bucket", top.bucket, "Bucket to store the data in the Top level InfluxDB"),
        ("org", top.organisation, "Organization configured in the Top level InfluxDB"),
        ("token", top.token, "Token to access the Top level InfluxDB API"),
        ("url", top.url, "URL of the Top level InfluxDB instance"),
    ):
        inputs[f"top_influx_{name}"] = text(value, description if is_top else "")
    return inputs


def _kubernetes(site: Site) -> Tree:
    properties: Tree = {
        "admin_token": get_input("admin_token"),
        "admin_username": "kubeuser",
        "cert_manager": True,
        "cert_user_email": get_input("cert_user_email"),
        "install_ingress": True,
        "install_kubeapps": False,
        "install_metrics": True,
        "install_nfs_client": True,
        "public_dns_name": host_name(),
        "version": KUBERNETES,
    }
    if site.placed.resource.gpus:
        properties["nvidia_support"] = True
    return {
        "type": "tosca.nodes.indigo.LRMS.FrontEnd.Kubernetes",
        "artifacts": KUBERNETES_ROLE,
        "capabilities": {"endpoint": {"properties": {"port": 30443, "protocol": "tcp"}}},
        "properties": properties,
        "requirements": [{"host": "front"}],
    }


def _monitoring() -> Tree:
    inputs = {
        "APP_NAME": get_input("app_name"),
        "LOCAL_INFLUX_HOSTNAME": host_name("influx."),
        "LOCAL_INFLUX_PASS": get_input("local_influx_pass"),
        "LOCAL_INFLUX_TOKEN": get_input("local_influx_token"),
        "QOS_CONSTRAINTS": get_input("qos_constraints"),
        **{
            f"REMOTE_INFLUX_{name.upper()}": get_input(f"top_influx_{name}")
            for name in ("bucket", "org", "token", "url")
        },
    }
    play = f"{_PLAYS}/ai-monitoring/ai-sprint-monit-site.yaml"
    return {
        "type": "tosca.nodes.SoftwareComponent",
        "interfaces": {"Standard": {"configure": {"implementation": play, "inputs": inputs}}},
        "requirements": [{"host": "lrms_front_end"}],
    }


def _oscar() -> Tree:
    ports = {
        f"{name}_port": {"protocol": "tcp", "source": port}
        for name, port in (("http", 80), ("https", 443), ("minio", 30300))
    }
    return {
        "type": "tosca.nodes.indigo.OSCAR",
        "capabilities": {"endpoint": {"properties": {"ports": ports}}},
        "properties": {
            "dns_host": host_name(),
            "minio_dns_host": host_name("minio."),
            "minio_dns_host_console": host_name("console.minio."),
            "minio_secretkey": get_input("minio_password"),
            "password": get_input("oscar_password"),
        },
        "requirements": [{"host": "lrms_front_end"}],
    }


def _elastic(worker: str, secrets: Secrets) -> Tree:
    return {
        "type": "tosca.nodes.ec3.ElasticCluster",
        "interfaces": {"Standard": {"configure": {"implementation": f"{_PLAYS}/use_external_im.yml"}}},
        "properties": {
            "config_options": [{"section": s, "option": o, "value": v} for s, o, v in _POWER],
            "im_auth": secrets.given("im-auth", "im/auth.dat"),
            "kube_token": get_input("admin_token"),
            "powermanager_plugin": "im",
        },
        "requirements": [{"host": "front"}, {"lrms": "lrms_front_end"}, {"wn": worker}],
    }


def _drift_detector(site: Site, wiring: Wiring) -> Tree:
    spec = drift_detector_spec(
        image=wiring.companions.drift_image,
        influx_token=site.influx_token(wiring.secrets),
        bucket=f"{wiring.companions.monitored}-bucket",
        store_bucket=site.placed.component.name,
        store_key=site.store_keys(wiring.secrets)[1],
    )
    return {
        "type": "tosca.nodes.indigo.KubernetesObject",
        "properties": {"spec": spec},
        "requirements": [{"host": "lrms_front_end"}],
    }


def _outputs() -> Tree:
    values: Tree = {
        "admin_token": get_input("admin_token"),
        "console_minio_endpoint": host_name("https://console.minio.", "/"),
        "dashboard_endpoint": host_name("https://", "/dashboard/"),
        "fe_node_creds": {"get_attribute": ["front", "endpoint", "credential", 0]},
        "fe_node_ip": {"get_attribute": ["front", "public_address", 0]},
        "influx_endpoint": host_name("https://influx."),
        "influx_password": get_input("local_influx_pass"),
        "influx_token": get_input("local_influx_token"),
        "minio_endpoint": host_name("https://minio.", "/"),
        "minio_password": get_input("minio_password"),
        "oscar_password": get_input("oscar_password"),
        "oscarui_endpoint": host_name("https://", "/"),
    }
    return {name: {"value": value} for name, value in values.items()}
