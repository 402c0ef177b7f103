"""Models that fail, each in its way; a module, so that a comparison's processes can import them."""

import os
import signal

from recbole_autorec.model.general_recommender.globalmean import GlobalMean


class Raises(GlobalMean):
    def __init__(self, config, dataset):
        raise RuntimeError("the reason\nin two lines")


class Dies(GlobalMean):
    def __init__(self, config, dataset):
        os.kill(os.getpid(), signal.SIGKILL)
