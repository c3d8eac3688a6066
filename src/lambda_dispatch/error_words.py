"""The words of `x-lambda-dispatch-error`, of `fault` in the access log and of `cause` in the log: one spelling each.

The compiled modules write them as literals. A house test holds the sources, this page and docs/operations.md together.
"""

from enum import StrEnum


class ErrorWord(StrEnum):
    def __new__(cls, word: str, status: int) -> "ErrorWord":
        self = str.__new__(cls, word)
        self._value_ = word
        self.status = status
        return self

    status: int  # of the answer; 0: there is none

    # The request cannot be read, or asks for what we do not do.
    BAD_HEAD = "bad_head", 400
    BAD_REQUEST_LINE = "bad_request_line", 400
    BAD_METHOD = "bad_method", 400
    BAD_TARGET = "bad_target", 400
    BAD_VERSION = "bad_version", 400
    BAD_FIELD_NAME = "bad_field_name", 400
    BAD_FIELD_VALUE = "bad_field_value", 400
    BAD_LINE_END = "bad_line_end", 400
    FOLDED_FIELD = "folded_field", 400
    BAD_CONTENT_LENGTH = "bad_content_length", 400
    BAD_TRANSFER_ENCODING = "bad_transfer_encoding", 400
    LENGTH_AND_ENCODING = "length_and_encoding", 400
    BAD_HOST = "bad_host", 400
    BAD_STATUS_LINE = "bad_status_line", 400
    BAD_CONNECTION = "bad_connection", 400
    BAD_CHUNK = "bad_chunk", 400
    BYTES_BEFORE_UPGRADE = "bytes_before_upgrade", 400
    BAD_FUNCTION_NAME = "bad_function_name", 400
    FUNCTION_SECRET = "function_secret", 403
    FUNCTION_NOT_ALLOWED = "function_not_allowed", 403
    RESERVED_PATH = "reserved_path", 404
    HEAD_TIMEOUT = "head_timeout", 408
    CLIENT_SENDS_TOO_SLOWLY = "client_sends_too_slowly", 408
    CLIENT_READS_TOO_SLOWLY = "client_reads_too_slowly", 408
    LINE_TOO_LONG = "line_too_long", 414
    EXPECTATION_FAILED = "expectation_failed", 417
    HEAD_TOO_LARGE = "head_too_large", 431
    TOO_MANY_FIELDS = "too_many_fields", 431
    CONNECT_NOT_SUPPORTED = "connect_not_supported", 501
    GRPC_NOT_SUPPORTED = "grpc_not_supported", 501
    UNSUPPORTED_VERSION = "unsupported_version", 505
    # The answer is none, or the way to it broke.
    ANSWER_MISSING = "answer_missing", 502
    ANSWER_MALFORMED = "answer_malformed", 502
    ANSWER_CUT_OFF = "answer_cut_off", 502
    ANSWER_HEAD_TOO_LARGE = "answer_head_too_large", 502
    ANSWER_TOO_LONG = "answer_too_long", 502
    ANSWER_TOO_SHORT = "answer_too_short", 502
    ANSWER_UPGRADE = "answer_upgrade", 502
    CHANNEL_RESET = "channel_reset", 502
    INSTANCE_CONNECTION_LOST = "instance_connection_lost", 502
    INSTANCE_ENDED = "instance_ended", 502
    INSTANCE_SILENT = "instance_silent", 502
    SIBLING_LOST = "sibling_lost", 502
    SIBLING_FAILED = "sibling_failed", 502
    # What the original's extension cannot take.
    ASTERISK_NOT_SUPPORTED = "asterisk_not_supported", 501
    TARGET_TOO_LONG = "target_too_long", 414
    # There is no room, or it did not come in time.
    NO_FUNCTION = "no_function", 503
    OVER_MEMORY_BUDGET = "over_memory_budget", 503
    QUEUE_FULL = "queue_full", 503
    TOO_MANY_FUNCTIONS = "too_many_functions", 503
    QUEUE_TIMEOUT = "queue_timeout", 504
    UPLOAD_TIMEOUT = "upload_timeout", 504
    # No answer: only in the access log.
    CLIENT_GONE = "client_gone", 0
    UPGRADE_DRAINED = "upgrade_drained", 0
    UPGRADE_IDLE = "upgrade_idle", 0
    UPGRADE_TOO_OLD = "upgrade_too_old", 0
    UPGRADE_CUT = "upgrade_cut", 0
