with named as (

    select
        dataset,
        pickup_location_id,
        dropoff_location_id,
        coalesce(
            case when pickup_borough = 'Unknown' then 'Unknown' else pickup_zone end,
            'Zone ' || pickup_location_id, 'Not recorded'
        ) as pickup_name,
        coalesce(
            case when dropoff_borough = 'Unknown' then 'Unknown' else dropoff_zone end,
            'Zone ' || dropoff_location_id, 'Not recorded'
        ) as dropoff_name,
        coalesce(pickup_borough not in ('Unknown', 'N/A'), false)
        or coalesce(dropoff_borough not in ('Unknown', 'N/A'), false) as has_known_zone,
        trips,
        revenue
    from {{ ref('zone_pairs') }}

)

select
    dataset,
    pickup_location_id,
    dropoff_location_id,
    pickup_name as pickup_zone,
    dropoff_name as dropoff_zone,
    has_known_zone,
    sum(trips)::bigint as trips,
    sum(revenue)::numeric(22, 4) as revenue
from named
group by
    dataset,
    pickup_location_id,
    dropoff_location_id,
    pickup_name,
    dropoff_name,
    has_known_zone
