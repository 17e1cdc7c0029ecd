-- How many taxi trips are paid in cash, week by week?
select
    date_trunc('week', day)::date as week,
    coalesce(payment_type, 'Not recorded') as payment_type,
    sum(trips) as trips,
    round(sum(trips) / sum(sum(trips)) over (partition by date_trunc('week', day)), 4) as share
from {{ ref('payment_mix') }}
where dataset in ('yellow', 'green')
group by date_trunc('week', day), payment_type
order by week asc, trips desc
