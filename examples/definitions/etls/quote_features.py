# name: quote_features
# query: insurance_quotes
# index_key: user_id
# description: How long a customer took, and how paying went
# owner: pricing

"""Features of an insurance quote: how long the customer took, and how paying went."""

from etl_abc import AbstractEtl


class Etl(AbstractEtl):
    """Row by row, so that one customer's row gives what the whole frame gave."""

    def extract(self):
        """One row of features per quote."""
        features = self.df[["quote_id", "user_id", "failed_payments"]].copy()
        features["creation_to_binding"] = self.df["binding_date"] - self.df["creation_date"]
        features["binding_to_purchase"] = self.df["purchase_time"] - self.df["binding_date"]
        features["is_rent"] = self.df["quote_type"] == "rent"
        features["is_mobile"] = self.df["quote_device"] == "mobile"
        features["has_policy"] = self.df["policy_id"].notna()
        return features
