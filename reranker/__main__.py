from reranker.cli.app import main

main()
