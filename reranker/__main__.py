from reranker.cli import main

main()
