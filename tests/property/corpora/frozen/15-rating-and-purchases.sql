-- Each rating with what the user had bought of the product, asked by both.
-- key: user_id, product_id
-- ratings: key user_id, key product_id
-- orders: key customer_id
-- order_items: key product_id
SELECT r.user_id, r.product_id, r.stars, b.bought
FROM feature_store.ratings r
LEFT JOIN (
    SELECT o.customer_id, i.product_id, sum(i.quantity) AS bought
    FROM feature_store.orders o
    JOIN feature_store.order_items i ON i.order_id = o.order_id
    GROUP BY o.customer_id, i.product_id
) b ON b.customer_id = r.user_id AND b.product_id = r.product_id
