"""File formats, videos, camera paths and tracks of a finished scene."""
