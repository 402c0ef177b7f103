"""U-AutoRec: it reconstructs each user's ratings of all items.

Rows     users; D = n_items, so V and W have one row per item.
Source   Sedhain et al., AutoRec, WWW 2015 Companion, doi:10.1145/2740908.2742726.
"""

from recbole_autorec.model.autorec import RowAutoRec


class UAutoRec(RowAutoRec):
    """User-based AutoRec; parameters in properties/model/UAutoRec.yaml, the rest in RowAutoRec.

    Examples:
        >>> from recbole_autorec import run_recbole_autorec
        >>> result = run_recbole_autorec("UAutoRec", "ml-100k", config_dict={"hidden_size": [50], "epochs": 2})
        >>> result["test"]["rmse"] < 0.94  # the offsets alone have 0.944
        True
    """

    rows = "user"
