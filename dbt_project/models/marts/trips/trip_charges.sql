-- A taxi trip's total, taken apart under names that mean the same for all vendors and years. A
-- view: it costs a question some additions, and the trips no space.
--
-- Vendor 1's columns hold one another: its extra has the congestion surcharge, the CBD and the
-- airport fee in it, and green's mta_tax from 1.00 on the improvement surcharge.
{{ config(materialized='replaced_view') }}

with columns_of_files as (

    select
        (select 'yellow'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        vendor_id,
        payment_type_id,
        faults,
        coalesce(fare_amount, 0) as fare,
        coalesce(extra, 0) as extra,
        coalesce(mta_tax, 0) as mta_tax,
        0 as improvement_in_mta_tax,
        coalesce(improvement_surcharge, 0) as improvement_surcharge,
        coalesce(congestion_surcharge, 0) as congestion_surcharge,
        coalesce(airport_fee, 0) as airport_fee,
        coalesce(cbd_congestion_fee, 0) as cbd_congestion_fee,
        coalesce(tolls_amount, 0) as tolls,
        coalesce(tip_amount, 0) as tip,
        total_amount
    from {{ ref('yellow_taxi_trips') }}

    union all

    select
        (select 'green'::text) as dataset,
        trip_id,
        source_month,
        source_row,
        pickup_datetime,
        vendor_id,
        payment_type_id,
        faults,
        coalesce(fare_amount, 0) as fare,
        coalesce(extra, 0) as extra,
        coalesce(mta_tax, 0) as mta_tax,
        case
            when vendor_id = 1 and payment_type_id <> 0 and mta_tax >= 1
                then coalesce(improvement_surcharge, 0)
            else 0
        end as improvement_in_mta_tax,
        coalesce(improvement_surcharge, 0) as improvement_surcharge,
        coalesce(congestion_surcharge, 0) as congestion_surcharge,
        coalesce(ehail_fee, 0) as airport_fee,
        coalesce(cbd_congestion_fee, 0) as cbd_congestion_fee,
        coalesce(tolls_amount, 0) as tolls,
        coalesce(tip_amount, 0) as tip,
        total_amount
    from {{ ref('green_taxi_trips') }}

),

taken_apart as (

    select
        *,
        extra
        - case
            when vendor_id = 1 and payment_type_id <> 0
                then congestion_surcharge + airport_fee + cbd_congestion_fee
            else 0
        end as extra_alone,
        mta_tax - improvement_in_mta_tax as mta_tax_alone
    from columns_of_files

),

summed as (

    select
        *,
        case
            when pickup_datetime >= '2022-12-19' and abs(extra_alone) >= 5
                then 5 * sign(extra_alone)
            else 0
        end as laguardia,
        total_amount - fare - extra_alone - mta_tax_alone - improvement_surcharge
        - congestion_surcharge - airport_fee - cbd_congestion_fee - tolls - tip as beyond_columns,
        coalesce(faults && array[
            'surcharge_in_total_alone', 'fee_in_total_alone', 'cbd_fee_not_shown',
            'subway_fare_as_tip', 'paratransit', 'negative_fare'
        ], false) as is_known
    from taken_apart

)

select
    dataset,
    trip_id,
    source_month,
    vendor_id,
    payment_type_id,
    faults,
    fare::numeric(14, 4) as fare,
    (extra_alone - laguardia)::numeric(14, 4) as rush_hour_and_night,
    (airport_fee + laguardia)::numeric(14, 4) as airport,
    mta_tax_alone::numeric(14, 4) as mta_tax,
    improvement_surcharge::numeric(14, 4) as improvement,
    congestion_surcharge::numeric(14, 4) as congestion,
    cbd_congestion_fee::numeric(14, 4) as cbd_fee,
    tolls::numeric(14, 4) as tolls,
    tip::numeric(14, 4) as tip,
    case when is_known then beyond_columns else 0 end::numeric(14, 4) as not_in_columns,
    case when is_known then 0 else beyond_columns end::numeric(14, 4) as unexplained,
    total_amount
from summed
where total_amount is not null
