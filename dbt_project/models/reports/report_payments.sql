select
    row_number() over (order by sum(mix.trips) desc, mix.payment_type_id asc) as place,
    coalesce(ways.payment_type, 'Code ' || mix.payment_type_id, 'Not recorded') as title,
    sum(mix.trips)::bigint as trips,
    sum(mix.revenue) as revenue
from {{ ref('payment_mix') }} as mix
left join {{ ref('payment_types') }} as ways
    on mix.payment_type_id = ways.payment_type_id
where mix.dataset = 'yellow'
group by mix.payment_type_id, ways.payment_type
