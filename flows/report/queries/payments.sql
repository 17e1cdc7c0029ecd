select
    coalesce(payment_type, 'Code ' || payment_type_id, 'Not recorded') as title,
    sum(trips) as trips,
    sum(revenue) as revenue
from payment_mix
where :these_months
group by payment_type_id, title
order by trips desc, payment_type_id;
