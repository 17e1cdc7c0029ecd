-- What TLC's datasets have in common. A view: a question about one dataset and month reads that
-- month's part of that dataset's table alone, and a dictionary only if its words are asked for.
--
-- `(select 'green')`, not `'green'`: of a part whose constant contradicts the filter, PostgreSQL
-- ignores the filter on the month as well, and locks all months before it drops the part.
--
-- The app that has passed on the request for a taxi is named by its licence, too.
{{ config(materialized='replaced_view') }}

with all_trips as (

    select
        (select 'yellow'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        dropoff_datetime,
        pickup_location_id,
        dropoff_location_id,
        pickup_zone_from,
        dropoff_zone_from,
        duration_minutes,
        trip_distance,
        speed_mph,
        passenger_count,
        fare_amount,
        tip_amount,
        tip_share,
        total_amount,
        payment_type_id,
        request_source as hvfhs_license_num,
        null::text as dispatching_base_num,
        vendor_id,
        'Yellow taxi'::text as taxi,
        faults,
        pickup_hour_in_file_order
    from {{ ref('yellow_taxi_trips') }}

    union all

    select
        (select 'green'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        dropoff_datetime,
        pickup_location_id,
        dropoff_location_id,
        pickup_zone_from,
        dropoff_zone_from,
        duration_minutes,
        trip_distance,
        speed_mph,
        passenger_count,
        fare_amount,
        tip_amount,
        tip_share,
        total_amount,
        payment_type_id,
        request_source as hvfhs_license_num,
        null::text as dispatching_base_num,
        vendor_id,
        'Green taxi'::text as taxi,
        faults,
        pickup_hour_in_file_order
    from {{ ref('green_taxi_trips') }}

    union all

    select
        (select 'fhv'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        dropoff_datetime,
        pickup_location_id,
        dropoff_location_id,
        case when pickup_location_id is not null then 'file' end as pickup_zone_from,
        case when dropoff_location_id is not null then 'file' end as dropoff_zone_from,
        duration_minutes,
        null::numeric(14, 4) as trip_distance,
        null::numeric(20, 1) as speed_mph,
        null::smallint as passenger_count,
        null::numeric(14, 4) as fare_amount,
        null::numeric(14, 4) as tip_amount,
        null::numeric(18, 4) as tip_share,
        null::numeric(14, 4) as total_amount,
        null::smallint as payment_type_id,
        null::text as hvfhs_license_num,
        dispatching_base_num,
        null::smallint as vendor_id,
        null::text as taxi,
        faults,
        null::timestamp as pickup_hour_in_file_order
    from {{ ref('fhv_trips') }}

    union all

    select
        (select 'fhvhv'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        dropoff_datetime,
        pickup_location_id,
        dropoff_location_id,
        case when pickup_location_id is not null then 'file' end as pickup_zone_from,
        case when dropoff_location_id is not null then 'file' end as dropoff_zone_from,
        duration_minutes,
        trip_distance,
        speed_mph,
        null::smallint as passenger_count,
        fare_amount,
        tip_amount,
        tip_share,
        total_amount,
        null::smallint as payment_type_id,
        hvfhs_license_num,
        dispatching_base_num,
        null::smallint as vendor_id,
        null::text as taxi,
        faults,
        null::timestamp as pickup_hour_in_file_order
    from {{ ref('fhvhv_trips') }}

)

select
    all_trips.dataset,
    all_trips.trip_id,
    all_trips.source_month,
    all_trips.pickup_datetime,
    all_trips.dropoff_datetime,
    all_trips.pickup_location_id,
    pickup_zones.borough as pickup_borough,
    pickup_zones.zone as pickup_zone,
    all_trips.pickup_zone_from,
    all_trips.dropoff_location_id,
    dropoff_zones.borough as dropoff_borough,
    dropoff_zones.zone as dropoff_zone,
    all_trips.dropoff_zone_from,
    all_trips.duration_minutes,
    all_trips.trip_distance,
    all_trips.speed_mph,
    all_trips.passenger_count,
    all_trips.fare_amount,
    all_trips.tip_amount,
    all_trips.tip_share,
    all_trips.total_amount,
    all_trips.payment_type_id,
    all_trips.vendor_id,
    {{ company('all_trips') }} as company,
    all_trips.faults,
    all_trips.pickup_hour_in_file_order,
    sampling.sampled_one_in
from all_trips
left join {{ ref('taxi_zones') }} as pickup_zones
    on all_trips.pickup_location_id = pickup_zones.location_id
left join {{ ref('taxi_zones') }} as dropoff_zones
    on all_trips.dropoff_location_id = dropoff_zones.location_id
left join {{ ref('int_tlc__sampling') }} as sampling
    on all_trips.dataset || all_trips.source_month = sampling.name_of_month
{{ companies_of('all_trips') }}
