with pairs as materialized (

    select
        dataset,
        source_month,
        pickup_location_id,
        dropoff_location_id,
        {{ metric_columns() }}
    from {{ ref('trips') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, pickup_location_id, dropoff_location_id

)

select
    pairs.dataset,
    pairs.source_month,
    sampling.sampled_one_in,
    pairs.pickup_location_id,
    pickups.borough as pickup_borough,
    pickups.zone as pickup_zone,
    pairs.dropoff_location_id,
    dropoffs.borough as dropoff_borough,
    dropoffs.zone as dropoff_zone,
    {{ metric_names('pairs') }}
from pairs
left join {{ ref('taxi_zones') }} as pickups
    on pairs.pickup_location_id = pickups.location_id
left join {{ ref('taxi_zones') }} as dropoffs
    on pairs.dropoff_location_id = dropoffs.location_id
left join {{ ref('int_tlc__sampling') }} as sampling
    on
        pairs.dataset = sampling.dataset
        and pairs.source_month = sampling.source_month
