"""I-AutoRec, the paper's best model: it reconstructs each item's ratings by all users.

Rows     items; D = n_users, so V and W have one row per user.
Source   Sedhain et al., AutoRec, WWW 2015 Companion, doi:10.1145/2740908.2742726.
"""

from recbole_autorec.model.autorec import RowAutoRec


class IAutoRec(RowAutoRec):
    """Item-based AutoRec; parameters in properties/model/IAutoRec.yaml, the rest in RowAutoRec.

    Examples:
        >>> from recbole_autorec import run_recbole_autorec
        >>> result = run_recbole_autorec("IAutoRec", "ml-100k", config_dict={"hidden_size": [50], "epochs": 1})
        >>> result["test"]["rmse"] < 0.9
        True
    """

    rows = "item"
