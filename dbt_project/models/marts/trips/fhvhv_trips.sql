{{ config(
    materialized='partitioned_by_month',
    meta={'dataset': 'fhvhv'},
    indexes=[{'columns': ['pickup_datetime'], 'type': 'brin'}],
) }}

select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,

    request_datetime,
    on_scene_datetime,
    pickup_datetime,
    dropoff_datetime,
    pickup_location_id,
    dropoff_location_id,
    trip_distance,
    trip_seconds,
    {{ duration_minutes() }} as duration_minutes,
    {{ speed_mph() }} as speed_mph,

    fare_amount,
    tolls_amount,
    black_car_fund,
    sales_tax,
    congestion_surcharge,
    airport_fee,
    cbd_congestion_fee,
    tip_amount,
    total_amount,
    {{ tip_share(is_cash='false') }} as tip_share,
    driver_pay,

    hvfhs_license_num,
    dispatching_base_num,
    originating_base_num,
    sr_flag,
    shared_request_flag,
    shared_match_flag,
    access_a_ride_flag,
    wav_request_flag,
    wav_match_flag,
    faults,

    source_month,
    source_row,
    load_id

from (
    select
        *,
        -- TLC gives no total. Without a fare, as in the files of 2019 to 2021, there is none.
        (
            fare_amount + coalesce(tolls_amount, 0) + coalesce(black_car_fund, 0)
            + coalesce(sales_tax, 0) + coalesce(congestion_surcharge, 0) + coalesce(airport_fee, 0)
            + coalesce(cbd_congestion_fee, 0) + coalesce(tip_amount, 0)
        )::numeric(14, 4) as total_amount,
        {{ faults('fhvhv') }} as faults,
        {{ read_once() }} as added_at
    from {{ ref('stg_tlc__fhvhv_trips') }}
) as staged
where not is_rejected
