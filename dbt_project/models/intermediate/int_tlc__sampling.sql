-- With one column as its key, which no filter on a dataset or month turns into a constant: so
-- PostgreSQL sees that a join adds no row, and leaves it out where nothing of it is asked for.
select distinct on (name_of_month)
    dataset || source_month as name_of_month,
    dataset,
    source_month,
    sampled_one_in
from {{ ref('stg_tlc__loads') }}
order by name_of_month asc, load_id desc
