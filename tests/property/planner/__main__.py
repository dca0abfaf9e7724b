"""Some of `many`'s cases: prints what they came to for it to read."""

import pickle
import sys

from tests.property.planner.many import run_each

sys.stdout.buffer.write(pickle.dumps(run_each(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3])))))
