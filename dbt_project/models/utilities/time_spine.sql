select day::date as day
from generate_series(date '2009-01-01', date '2039-12-31', interval '1 day') as day
