-- Pairs of which at least one end is known.
select
    coalesce(
        case when pickup_borough = 'Unknown' then 'Unknown' else pickup_zone end,
        'Zone ' || pickup_location_id, 'Not recorded'
    ) || ' → ' || coalesce(
        case when dropoff_borough = 'Unknown' then 'Unknown' else dropoff_zone end,
        'Zone ' || dropoff_location_id, 'Not recorded'
    ) as title,
    sum(trips) as trips,
    sum(revenue) as revenue
from zone_pairs
where
    :these_months
    and (pickup_borough not in ('Unknown', 'N/A') or dropoff_borough not in ('Unknown', 'N/A'))
group by pickup_location_id, dropoff_location_id, title
order by trips desc, pickup_location_id, dropoff_location_id
limit 10;
