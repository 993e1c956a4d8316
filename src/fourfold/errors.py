"""The one exception a user sees: a sentence that says what, where and what to do."""


class FourfoldError(Exception):
    """A mistake in the input or the environment, told in one sentence.

    The command line prints the sentence and exits with code 2; nothing half-written stays behind.
    """
