"""The error tree of the package: catch ``Sam3Error`` to catch them all.

    Sam3Error
    ├── InputError (ValueError)              bad prompt, picture, option or call order
    │   ├── SessionError (RuntimeError)      the call does not fit what the session holds
    │   ├── DataError (RuntimeError)         a data set or one of its samples cannot be used
    │   ├── VideoError (RuntimeError)        a video or a folder of frames cannot be read
    │   ├── FrameIndexError (IndexError)     a frame number that the video does not have
    │   └── UnsupportedInputError (NotImplementedError)  a kind of input that nothing here reads
    ├── CheckpointError (RuntimeError)       a weight file cannot be used
    │   ├── CheckpointFormatError            unreadable, truncated, not a checkpoint, unsafe
    │   └── CheckpointMismatchError          readable, but keys or shapes are not this model's
    ├── DownloadError (RuntimeError)         weights could not be fetched or verified
    ├── DeviceError (RuntimeError)           the asked-for device or precision is not there
    └── MissingDependencyError (ImportError) a package is missing; names its install command

Every message says what was wrong, what is allowed and what to do next.
"""


class Sam3Error(Exception):
    """Base class of every error this package raises on purpose."""


class InputError(Sam3Error, ValueError):
    """A prompt, picture or option is invalid, or methods were called in the wrong order."""


class SessionError(InputError, RuntimeError):
    """The call does not fit what the session holds: an unknown object or session, a wrong order."""


class DataError(InputError, RuntimeError):
    """A data set, its annotation file or one of its samples cannot be used."""


class VideoError(InputError, RuntimeError):
    """A video, a folder of frames or one of its frames is broken, empty or of mixed sizes."""


class FrameIndexError(InputError, IndexError):
    """The video has no frame of that number."""


class UnsupportedInputError(InputError, NotImplementedError):
    """A kind of input or option that is not supported; the message names those that are."""


class CheckpointError(Sam3Error, RuntimeError):
    """A weight file cannot be used."""


class CheckpointFormatError(CheckpointError):
    """The file is unreadable, truncated, unsafe, or not a checkpoint at all."""


class CheckpointMismatchError(CheckpointError):
    """The file is readable, but its keys or shapes are not those of the model."""


class DownloadError(Sam3Error, RuntimeError):
    """Weights could not be fetched or did not match their published size or hash."""


class DeviceError(Sam3Error, RuntimeError):
    """The requested device or precision is not available on this machine."""


class MissingDependencyError(Sam3Error, ImportError):
    """An optional package is needed; the message names the install command."""
