"""I-AutoRec, the paper's best: an item's ratings by all users in, the same ratings out.

Rows     items; D = n_users, so V and W have a row for each user.
Source   Sedhain et al., AutoRec, WWW 2015 Companion, doi:10.1145/2740908.2742726.
"""

from recbole_autorec.model.autorec import RowAutoRec


class IAutoRec(RowAutoRec):
    """Item-based AutoRec; parameters in properties/model/IAutoRec.yaml, everything else in RowAutoRec."""

    rows = "item"
