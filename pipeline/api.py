"""The Python API: what a program may import, and finds again under these names in every later version.

    from pipeline.api import FetchOrder, fetch_release, ignore, load_settings, open_supply, read_want

    settings = load_settings({"source": "https://cdn.example/tree"}, os.environ, Path.cwd())
    fetched = fetch_release(FetchOrder(read_want("bert@stable"), Path("models")), open_supply(settings), ignore)

Every walk takes what to do and where, and gives a value; it tells a listener what it does, and raises a ``ModelportError``
whose ``exit_code`` and ``hint`` are those of the command line. All else in these packages may change with any version.
"""

from pipeline.connect import open_place, open_supply
from pipeline.errors import (
    ConflictError,
    DiskError,
    IntegrityError,
    LeftInLedger,
    ModelportError,
    TrustError,
    UnavailableError,
    UsageError,
)
from pipeline.events import Listener, ignore
from pipeline.fetch import Fetched, FetchOrder, fetch_release
from pipeline.order import PublishOrder
from pipeline.outcome import Published
from pipeline.overview import Overview, describe_release
from pipeline.place import Place
from pipeline.plan.wants import Want, read_want
from pipeline.promote import Moved, promote_release, rollback_channel
from pipeline.publish import publish_release
from pipeline.release import Channel, ModelName, Release
from pipeline.settings import Settings, load_settings
from pipeline.show import Shown, show_tree
from pipeline.supply import Supply
from pipeline.verify import Verified, verify_release
from pipeline.verify_folder import FolderVerified, prove_folder

__all__ = [
    "Channel",
    "ConflictError",
    "DiskError",
    "FetchOrder",
    "Fetched",
    "FolderVerified",
    "IntegrityError",
    "LeftInLedger",
    "Listener",
    "ModelName",
    "ModelportError",
    "Moved",
    "Overview",
    "Place",
    "PublishOrder",
    "Published",
    "Release",
    "Settings",
    "Shown",
    "Supply",
    "TrustError",
    "UnavailableError",
    "UsageError",
    "Verified",
    "Want",
    "describe_release",
    "fetch_release",
    "ignore",
    "load_settings",
    "open_place",
    "open_supply",
    "promote_release",
    "prove_folder",
    "publish_release",
    "read_want",
    "rollback_channel",
    "show_tree",
    "verify_release",
]
