"""What is computed: training results, ETLs, contracts, verification."""
