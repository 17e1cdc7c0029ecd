-- How many trips are paid in cash, week by week?
select
    date_trunc('week', mix.day)::date as week,
    coalesce(kinds.payment_type, 'missing') as payment_type,
    sum(mix.trips) as trips,
    round(
        sum(mix.trips) / sum(sum(mix.trips)) over (partition by date_trunc('week', mix.day)), 4
    ) as share
from {{ ref('payment_mix') }} as mix
left join {{ ref('payment_types') }} as kinds
    on mix.payment_type_id = kinds.payment_type_id
group by date_trunc('week', mix.day), kinds.payment_type
order by week asc, trips desc
