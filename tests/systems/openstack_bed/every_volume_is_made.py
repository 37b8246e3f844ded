"""A driver for cinder that says of every volume that it is made; nothing is stored anywhere."""

from __future__ import annotations

from typing import Any

from cinder.volume import driver


class EveryVolumeIsMade(driver.VolumeDriver):
    """As much room as anybody asks for, of which nothing can be read."""

    VERSION = "1"

    def check_for_setup_error(self) -> None:
        """Nothing is needed."""

    def get_volume_stats(self, refresh: bool = False) -> dict[str, Any]:
        """What the scheduler goes by."""
        del refresh
        room = {"total_capacity_gb": "infinite", "free_capacity_gb": "infinite", "reserved_percentage": 0}
        return {
            "volume_backend_name": "bed",
            "vendor_name": "bed",
            "driver_version": "1",
            "storage_protocol": "iSCSI",
            **room,
        }

    def create_volume(self, volume: Any) -> None:
        """Made."""

    def clone_image(self, *_: Any) -> tuple[dict[str, Any], bool]:
        """Filled with an image, without a look at it."""
        return {}, True

    def delete_volume(self, volume: Any) -> None:
        """Gone."""

    def create_snapshot(self, snapshot: Any) -> None:
        """Made."""

    def delete_snapshot(self, snapshot: Any) -> None:
        """Gone."""

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nobody is shown it."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """The same."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """The same."""

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """How a host would reach it."""
        return {"driver_volume_type": "iscsi", "data": {"access_mode": "rw"}}

    def terminate_connection(self, volume: Any, connector: Any, **_: Any) -> None:
        """No host does."""
