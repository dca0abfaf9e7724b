-- What each customer spent on each category: two chains, one behind the other.
-- key: customer_id
-- orders: key customer_id
-- order_items: chain order_id
-- products: chain product_id
SELECT o.customer_id, p.category, sum(i.quantity * i.price) AS spent, count(DISTINCT o.order_id) AS orders
FROM feature_store.orders o
JOIN feature_store.order_items i ON i.order_id = o.order_id
JOIN feature_store.products p ON p.product_id = i.product_id
WHERE o.status <> 'cancelled'
GROUP BY o.customer_id, p.category
