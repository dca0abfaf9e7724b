-- Each payment at the exchange rate of its time: the rates are reached through the payments' currencies.
-- key: user_id
-- transactions: key user_id
-- fx_rates: chain currency
SELECT t.transaction_id, t.user_id, t.ts, t.amount * r.rate AS euros
FROM feature_store.transactions t
ASOF JOIN feature_store.fx_rates r ON t.currency = r.currency AND t.ts >= r.ts
