with zones as (

    select
        location_id,
        coalesce(nullif(zone, 'N/A'), 'Unknown') as zone_name,
        borough not in ('Unknown', 'N/A') as is_known
    from {{ ref('taxi_zones') }}

)

select
    pairs.pickup_location_id,
    pairs.dropoff_location_id,
    coalesce(
        pickups.zone_name, 'Zone ' || pairs.pickup_location_id, 'Not recorded'
    ) as pickup_zone,
    coalesce(
        dropoffs.zone_name, 'Zone ' || pairs.dropoff_location_id, 'Not recorded'
    ) as dropoff_zone,
    coalesce(pickups.is_known, false) or coalesce(dropoffs.is_known, false) as has_known_zone,
    sum(pairs.trips)::bigint as trips,
    sum(pairs.revenue) as revenue
from {{ ref('zone_pairs') }} as pairs
left join zones as pickups
    on pairs.pickup_location_id = pickups.location_id
left join zones as dropoffs
    on pairs.dropoff_location_id = dropoffs.location_id
where pairs.dataset = 'yellow'
group by
    pairs.pickup_location_id,
    pairs.dropoff_location_id,
    pickup_zone,
    dropoff_zone,
    has_known_zone
