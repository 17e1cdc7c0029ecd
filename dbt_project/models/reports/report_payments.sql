select
    dataset,
    row_number() over (
        partition by dataset order by sum(trips) desc, payment_type_id asc
    ) as place,
    coalesce(payment_type, 'Code ' || payment_type_id, 'Not recorded') as title,
    sum(trips)::bigint as trips,
    sum(revenue)::numeric(22, 4) as revenue
from {{ ref('payment_mix') }}
group by dataset, payment_type_id, payment_type
