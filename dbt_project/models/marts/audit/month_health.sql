-- The trips are counted once, by day and vendor. Medians and the share of money unexplained are of
-- at most 200,000 trips of a month, evenly spread over it, and duplicates are looked for among
-- those that begin in one minute of the hour.
with by_day as (

    select
        dataset,
        source_month,
        vendor_id,
        pickup_datetime::date as day,
        count(*) as trips,
        count(pickup_location_id) as with_pickup_zone,
        count(dropoff_location_id) as with_dropoff_zone,
        count(duration_minutes) as with_duration,
        count(trip_distance) as with_distance,
        count(passenger_count) as with_passengers,
        count(payment_type_id) as with_payment,
        count(fare_amount) as with_fare,
        count(total_amount) as with_total
    from {{ ref('trips') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, vendor_id, pickup_datetime::date

),

by_month as (

    select
        dataset,
        source_month,
        sum(trips) as trips,
        sum(with_pickup_zone) as with_pickup_zone,
        sum(with_dropoff_zone) as with_dropoff_zone,
        sum(with_duration) as with_duration,
        sum(with_distance) as with_distance,
        sum(with_passengers) as with_passengers,
        sum(with_payment) as with_payment,
        sum(with_fare) as with_fare,
        sum(with_total) as with_total,
        date_part('day', source_month + interval '1 month' - interval '1 day')
        - count(distinct day) filter (where date_trunc('month', day) = source_month)
            as days_without_trips
    from by_day
    group by dataset, source_month

),

by_vendor as (

    select
        dataset,
        source_month,
        vendor_id,
        sum(trips) as trips,
        date_part('day', source_month + interval '1 month' - interval '1 day')
        - count(distinct day) filter (where date_trunc('month', day) = source_month)
            as days_without_trips
    from by_day
    where vendor_id is not null
    group by dataset, source_month, vendor_id

),

sample as (

    select 1 + max(trips)::bigint / 200000 as one_in
    from by_month

),

medians as (

    select
        dataset,
        source_month,
        percentile_cont(0.5) within group (order by duration_minutes) as minutes,
        percentile_cont(0.5) within group (order by trip_distance) as miles,
        percentile_cont(0.5) within group (order by fare_amount) as fare
    from {{ ref('trips') }}
    where trip_id % (select sample.one_in from sample) = 0 and {{ is_of_the_month() }}
    group by dataset, source_month

),

duplicates as (

    select
        dataset,
        source_month,
        sum(copies - 1) / sum(copies) as share
    from (
        select
            dataset,
            source_month,
            count(*) as copies
        from {{ ref('trips') }}
        where date_part('minute', pickup_datetime) = 30 and {{ is_of_the_month() }}
        group by
            dataset,
            source_month,
            vendor_id,
            pickup_datetime,
            dropoff_datetime,
            pickup_location_id,
            dropoff_location_id,
            trip_distance,
            fare_amount,
            total_amount
    ) as alike
    group by dataset, source_month

),

charges as (

    select
        dataset,
        source_month,
        sum(abs(unexplained)) / nullif(sum(abs(total_amount)), 0) as unexplained
    from {{ ref('trip_charges') }}
    where trip_id % (select sample.one_in from sample) = 0 and {{ is_of_the_month() }}
    group by dataset, source_month

)

select
    by_month.dataset,
    by_month.source_month,
    measures.measure,
    measures.measured::numeric(22, 6) as measured
from by_month
cross join
    lateral (
        values
        ('trips', by_month.trips),
        ('days without trips', by_month.days_without_trips::numeric),
        ('share without pickup zone', 1 - by_month.with_pickup_zone / by_month.trips),
        ('share without dropoff zone', 1 - by_month.with_dropoff_zone / by_month.trips),
        ('share without duration', 1 - by_month.with_duration / by_month.trips),
        ('share without distance', 1 - by_month.with_distance / by_month.trips),
        ('share without passengers', 1 - by_month.with_passengers / by_month.trips),
        ('share without way of payment', 1 - by_month.with_payment / by_month.trips),
        ('share without fare', 1 - by_month.with_fare / by_month.trips),
        ('share without total', 1 - by_month.with_total / by_month.trips)
    ) as measures (measure, measured)

union all

select
    by_vendor.dataset,
    by_vendor.source_month,
    measures.measure || by_vendor.vendor_id as measure,
    measures.measured::numeric(22, 6) as measured
from by_vendor
inner join by_month
    on
        by_vendor.dataset = by_month.dataset
        and by_vendor.source_month = by_month.source_month
cross join
    lateral (
        values
        ('share of vendor ', by_vendor.trips / by_month.trips),
        -- Of a vendor of few trips such days mean nothing.
        (
            'days without trips of vendor ',
            case when by_vendor.trips > 1500 then by_vendor.days_without_trips::numeric end
        )
    ) as measures (measure, measured)

union all

select
    medians.dataset,
    medians.source_month,
    measures.measure,
    measures.measured::numeric(22, 6) as measured
from medians
cross join
    lateral (
        values
        ('median minutes', medians.minutes),
        ('median miles', medians.miles),
        ('median fare', medians.fare)
    ) as measures (measure, measured)

union all

select
    dataset,
    source_month,
    'share of duplicates' as measure,
    share::numeric(22, 6) as measured
from duplicates

union all

select
    dataset,
    source_month,
    'share of money unexplained' as measure,
    unexplained::numeric(22, 6) as measured
from charges

union all

select
    faults.dataset,
    faults.source_month,
    'share with ' || faults.fault as measure,
    (sum(faults.trips) / max(by_month.trips))::numeric(22, 6) as measured
from {{ ref('trip_faults') }} as faults
inner join by_month
    on
        faults.dataset = by_month.dataset
        and faults.source_month = by_month.source_month
group by faults.dataset, faults.source_month, faults.fault

union all

select
    accounting.dataset,
    accounting.source_month,
    measures.measure,
    (measures.measured / nullif(accounting.raw_rows, 0)::numeric)::numeric(22, 6) as measured
from {{ ref('trip_accounting') }} as accounting
cross join lateral (
    values
    ('share with zero passengers', accounting.zero_passenger_trips),
    ('share rejected', accounting.rejected_trips),
    ('share malformed', accounting.malformed_lines)
) as measures (measure, measured)
