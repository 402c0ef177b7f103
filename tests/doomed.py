"""Models that fail in different ways; a module, so that a comparison's processes can import them."""

import os
import signal
import time
from pathlib import Path

from recbole_autorec.model.general_recommender.globalmean import GlobalMean
from recbole_autorec.model.general_recommender.iautorec import IAutoRec


class Raises(GlobalMean):
    def __init__(self, config, dataset):
        raise RuntimeError("the reason\nin two lines")


class Dies(GlobalMean):
    def __init__(self, config, dataset):
        os.kill(os.getpid(), signal.SIGKILL)


class RaisesOnceIn(GlobalMean):
    """Fails only with seed 2."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if config["seed"] == 2:
            raise RuntimeError("seed 2")


class Meets(GlobalMean):
    """Fails unless another instance is being built at the same time."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        Path("meeting").mkdir(exist_ok=True)
        Path("meeting", str(os.getpid())).touch()
        for _ in range(200):
            if len(list(Path("meeting").iterdir())) == 2:
                return
            time.sleep(0.1)
        raise RuntimeError("nobody came")


class Waits(GlobalMean):
    """Takes longer than any test waits."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        time.sleep(600)


class Slow(IAutoRec):
    """Takes a third of a second per epoch, and appends a byte per epoch to a file named by node and parameters."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.mark = Path(os.environ["MARKS"], f"{os.environ['NODE']} {config['reg_weight']} {config['hidden_size']}")

    def train(self, mode=True):
        if mode:
            time.sleep(0.3)
            with self.mark.open("a") as file:
                file.write(".")
        return super().train(mode)
