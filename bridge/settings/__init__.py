"""All settings, one model per room, read from environment variables that begin with `BRIDGE_`.

May import: nothing of ours. Rooms get their own model or plain values from `compose`, never the environment.
"""

from bridge.settings.environment import SettingsError, load_settings
from bridge.settings.model import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
