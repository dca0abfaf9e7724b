-- What was bought against the mean price of its category: three chains, one behind the other.
-- key: customer_id
-- orders: key customer_id
-- order_items: chain order_id
-- products: chain product_id
-- products: chain category
SELECT o.customer_id, o.order_id, i.line_no, i.price / c.mean_price AS relative_price
FROM feature_store.orders o
JOIN feature_store.order_items i ON i.order_id = o.order_id
JOIN feature_store.products p ON p.product_id = i.product_id
JOIN (
    SELECT category, avg(list_price) AS mean_price
    FROM feature_store.products
    GROUP BY category
) c ON c.category = p.category
