-- Who tips, and how much? Only trips whose tips TLC records: paid by card, or through an app.
select
    dataset,
    source_month,
    count(*) as trips,
    round(avg((tip_amount > 0)::integer), 4) as share_with_tip,
    round(sum(tip_amount) / sum(fare_amount), 4) as tip_rate
from {{ ref('trips') }}
where
    tip_share is not null
    and (payment_type_id = 1 or dataset = 'fhvhv')
group by dataset, source_month
order by dataset, source_month
