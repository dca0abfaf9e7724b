-- What was rated without having been bought.
-- key: user_id
-- ratings: key user_id
-- orders: key customer_id
-- order_items: chain order_id
SELECT user_id, product_id FROM feature_store.ratings
EXCEPT
SELECT o.customer_id, i.product_id
FROM feature_store.orders o
JOIN feature_store.order_items i USING (order_id)
