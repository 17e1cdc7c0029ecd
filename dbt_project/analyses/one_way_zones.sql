-- Which zones do taxis leave empty? Zones with far more dropoffs than pickups.
with pickups as (

    select
        pickup_location_id as location_id,
        sum(trips) as pickups
    from {{ ref('zone_pairs') }}
    where dataset in ('yellow', 'green')
    group by pickup_location_id

),

dropoffs as (

    select
        dropoff_location_id as location_id,
        sum(trips) as dropoffs
    from {{ ref('zone_pairs') }}
    where dataset in ('yellow', 'green')
    group by dropoff_location_id

)

select
    zones.zone,
    zones.borough,
    dropoffs.dropoffs,
    coalesce(pickups.pickups, 0) as pickups,
    dropoffs.dropoffs - coalesce(pickups.pickups, 0) as empty_departures
from dropoffs
inner join {{ ref('taxi_zones') }} as zones
    on dropoffs.location_id = zones.location_id
left join pickups
    on dropoffs.location_id = pickups.location_id
order by empty_departures desc
limit 10
