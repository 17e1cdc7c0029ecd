-- Who drives New York, and where? `share` is the dataset's part in the borough's trips, and
-- `share_of_dataset` the borough's part in the dataset's. A trip of a sample counts for as many as
-- it stands for; a sample that was not drawn at random is left out.
select
    source_month,
    borough,
    dataset,
    sum(trips * sampled_one_in) as trips,
    round(
        sum(trips * sampled_one_in)
        / sum(sum(trips * sampled_one_in)) over (partition by source_month, borough), 4
    ) as share,
    round(
        sum(trips * sampled_one_in)
        / sum(sum(trips * sampled_one_in)) over (partition by source_month, dataset), 4
    ) as share_of_dataset
from {{ ref('daily_trips') }}
where sampled_one_in is not null
group by source_month, borough, dataset
order by source_month asc, borough asc, share desc
