# The verbs fabric by itself.
export RTRS_TEST_ADDRESS=$address0
"$build/tests/fabric/verbs/verbs_device_test" --gtest_brief=1
